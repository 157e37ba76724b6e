// Every GPU operation against the plain CPU version: odd shapes, one key, poisoned outputs.
#include <array>
#include <cmath>
#include <tuple>

#include "tests/gpu/gpu_support.h"

namespace layerscope::kernels::cuda::testing {
namespace {

struct Heads {
  int n_heads, n_kv_heads, head_dim, rope_dim;
  RopePairing pairing;
};

using ThreeTypes = std::array<DType, 3>;

class HeadShapes : public ::testing::TestWithParam<std::tuple<Heads, bool, ThreeTypes>> {};

float cache_value(const std::vector<std::byte>& bytes, bool f32, std::size_t i) {
  if (f32) {
    float v = 0.0F;
    std::memcpy(&v, bytes.data() + 4 * i, 4);
    return v;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes.data() + 2 * i, 2);
  return f16_to_f32(bits);
}

TEST_P(HeadShapes, QkvAndAppend_AgreeWithReferenceAndEachOther) {
  LS_NEEDS_GPU();
  const auto [shape, f32, types] = GetParam();
  const int hidden = std::max(
      {whole_blocks(types[0], 96), whole_blocks(types[1], 96), whole_blocks(types[2], 96)});
  const auto width = static_cast<std::size_t>(hidden);
  const int context = 5;
  const int position = 3;
  const HeadLayout heads{
      shape.n_heads, shape.n_kv_heads, shape.head_dim, (shape.head_dim + 7) / 8 * 8, context, f32};
  const int widths[3] = {shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim,
                         shape.n_kv_heads * shape.head_dim};
  const auto x = random_values(width, 1, 2.0F);
  const auto weight = random_values(width, 2);
  std::vector<float> normed(width);
  reference::rms_norm(x.data(), weight.data(), width, 1e-5F, normed.data());
  std::vector<double> inv_freq;
  for (int i = 0; i < shape.rope_dim / 2; ++i) {
    inv_freq.push_back(std::pow(0.3, i));
  }
  std::vector<float> cos_sin(static_cast<std::size_t>(std::max(2, shape.rope_dim)));
  rope_angles(position, inv_freq.data(), inv_freq.size(), cos_sin.data());
  const Device<float> dx(x), dw(weight), dcs(cos_sin), dn(width, kPoison);
  StepState step;
  step.position = position;
  const Device<StepState> state(std::vector<StepState>{step});
  const auto stride = static_cast<std::size_t>(heads.head_stride);
  const std::size_t kv = static_cast<std::size_t>(shape.n_kv_heads) * context * stride;
  const std::size_t qs = static_cast<std::size_t>(shape.n_heads) * context * stride;
  const std::size_t element = f32 ? 4 : 2;
  const Device<std::byte> keys(kv * element, std::byte{0}), values(kv * element, std::byte{0});
  const Device<float> queries(qs, 0.0F);
  QkvStage stage;
  std::vector<TestMatrix*> owned;
  TestMatrix wq(types[0], widths[0], hidden, 1), wk(types[1], widths[1], hidden, 2),
      wv(types[2], widths[2], hidden, 3);
  const TestMatrix* w[3] = {&wq, &wk, &wv};
  std::vector<std::vector<float>> bias, raw;
  std::vector<std::unique_ptr<Device<float>>> d_bias, d_raw, d_rot;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto n = static_cast<std::size_t>(widths[i]);
    bias.push_back(random_values(n, 10 + static_cast<unsigned>(i)));
    raw.push_back(w[i]->multiply(normed, 1, bias[i].data()));
    d_bias.push_back(std::make_unique<Device<float>>(bias[i]));
    d_raw.push_back(std::make_unique<Device<float>>(n, kPoison));
    d_rot.push_back(std::make_unique<Device<float>>(n, kPoison));
    stage.w[i] = w[i]->device();
    stage.bias[i] = d_bias[i]->get();
    stage.raw[i] = d_raw[i]->get();
    if (i < 2) {
      stage.rotated[i] = d_rot[i]->get();
    }
  }
  stage.norm_weight = dw.get();
  stage.eps = 1e-5F;
  stage.x = dx.get();
  stage.normed = dn.get();
  stage.cos_sin = dcs.get();
  stage.rope = {shape.pairing, shape.rope_dim};
  stage.heads = heads;
  stage.cache = {keys.get(), values.get(), queries.get()};
  stage.state = state.get();
  ASSERT_TRUE(launch_qkv(launch_info(), stage).ok());
  std::vector<std::vector<float>> rotated = raw;
  for (std::size_t i = 0; i < 2; ++i) {
    for (std::size_t at = 0; at < rotated[i].size();
         at += static_cast<std::size_t>(shape.head_dim)) {
      rope_apply(rotated[i].data() + at, cos_sin.data(), static_cast<std::size_t>(shape.rope_dim),
                 shape.pairing);
    }
  }
  const auto check = [&](const char* what) {
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_LT(difference(d_raw[i]->read(), raw[i]), 1e-4) << what << i;
      if (i < 2) {
        EXPECT_LT(difference(d_rot[i]->read(), rotated[i]), 1e-4) << what << i;
      }
    }
    const auto k = keys.read();
    const auto v = values.read();
    const auto q = queries.read();
    const double tolerance = f32 ? 1e-4 : 2e-3;  // F16 rounds to 2⁻¹¹
    for (int h = 0; h < shape.n_heads; ++h) {
      for (int slot = 0; slot < context; ++slot) {
        for (int d = 0; d < heads.head_stride; ++d) {
          const std::size_t at =
              (static_cast<std::size_t>(h) * context + static_cast<std::size_t>(slot)) * stride +
              static_cast<std::size_t>(d);
          const std::size_t in = static_cast<std::size_t>(h * shape.head_dim + d);
          const bool written = slot == position && d < shape.head_dim;
          ASSERT_NEAR(q[at], written ? rotated[0][in] : 0.0F, 1e-3) << what;
          if (h < shape.n_kv_heads) {
            const double scale = written ? 1.0 + std::fabs(rotated[1][in]) : 1.0;
            const double scale_v = written ? 1.0 + std::fabs(raw[2][in]) : 1.0;
            ASSERT_NEAR(cache_value(k, f32, at), written ? rotated[1][in] : 0.0F, tolerance * scale)
                << what;
            ASSERT_NEAR(cache_value(v, f32, at), written ? raw[2][in] : 0.0F, tolerance * scale_v)
                << what;
          }
        }
      }
    }
  };
  check("qkv ");
  // The same through the prefill path: products without bias, then append.
  AppendStage append;
  const Device<float> row_scale(1, 1.0F);
  std::vector<std::unique_ptr<Device<float>>> unbiased;
  for (std::size_t i = 0; i < 3; ++i) {
    d_raw[i] = std::make_unique<Device<float>>(w[i]->multiply(normed, 1));
    append.raw[i] = d_raw[i]->get();
    append.bias[i] = stage.bias[i];
    if (i < 2) {
      append.rotated[i] = stage.rotated[i];
    }
  }
  append.row_scale = row_scale.get();
  append.cos_sin = dcs.get();
  append.rope = stage.rope;
  append.heads = heads;
  append.cache = stage.cache;
  append.position = position;
  append.n = 1;
  ASSERT_TRUE(launch_append(launch_info(), append).ok());
  check("append ");
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, HeadShapes,
    ::testing::Combine(::testing::Values(Heads{4, 2, 16, 16, RopePairing::kHalf},
                                         Heads{3, 1, 24, 16, RopePairing::kAdjacent},
                                         Heads{2, 2, 7, 4, RopePairing::kHalf},
                                         Heads{9, 1, 80, 80, RopePairing::kHalf},
                                         Heads{2, 1, 16, 0, RopePairing::kNone}),
                       ::testing::Bool(),
                       ::testing::Values(ThreeTypes{DType::kF16, DType::kF16, DType::kF16},
                                         ThreeTypes{DType::kQ4_K, DType::kQ4_K, DType::kQ6_K},
                                         ThreeTypes{DType::kQ5_0, DType::kQ5_0, DType::kQ8_0},
                                         ThreeTypes{DType::kQ5_K, DType::kQ4_1, DType::kQ5_1},
                                         ThreeTypes{DType::kQ4_0, DType::kQ4_0, DType::kQ4_0})));

struct AttentionCase {
  int n_heads, n_kv_heads, head_dim, kv_len, chunk;
  int superfluous = 2;  ///< blocks too many; many of them: too many keys for a cluster
};

class AttentionDecode : public ::testing::TestWithParam<std::tuple<AttentionCase, bool>> {};

TEST_P(AttentionDecode, AnyLengthAndSharing_AgreesWithReference) {
  LS_NEEDS_GPU();
  const auto [c, f32] = GetParam();
  const int context = c.kv_len + 3;
  const HeadLayout heads{c.n_heads, c.n_kv_heads, c.head_dim, (c.head_dim + 7) / 8 * 8,
                         context,   f32};
  const auto dim = static_cast<std::size_t>(c.head_dim);
  const auto stride = static_cast<std::size_t>(heads.head_stride);
  const auto n = static_cast<std::size_t>(c.kv_len);
  const auto q = random_values(static_cast<std::size_t>(c.n_heads) * dim, 1, 2.0F);
  const std::size_t elements =
      static_cast<std::size_t>(c.n_kv_heads) * static_cast<std::size_t>(context) * stride;
  // Beyond kv_len stands poison (as far as F16 goes); beyond head_dim zero.
  std::vector<float> k(elements, 0.0F), v(elements, 0.0F);
  const auto fresh = random_values(2 * elements, 2);
  std::vector<std::byte> kb(elements * (f32 ? 4 : 2)), vb(kb.size());
  for (std::size_t i = 0; i < elements; ++i) {
    const std::size_t slot = i / stride % static_cast<std::size_t>(context);
    const bool used = i % stride < dim;
    k[i] = !used ? 0.0F : slot < n ? fresh[i] : 6e4F;
    v[i] = !used ? 0.0F : slot < n ? fresh[elements + i] : 6e4F;
    if (f32) {
      std::memcpy(kb.data() + 4 * i, &k[i], 4);
      std::memcpy(vb.data() + 4 * i, &v[i], 4);
    } else {
      const std::uint16_t hk = f32_to_f16(k[i]);
      const std::uint16_t hv = f32_to_f16(v[i]);
      k[i] = f16_to_f32(hk);
      v[i] = f16_to_f32(hv);
      std::memcpy(kb.data() + 2 * i, &hk, 2);
      std::memcpy(vb.data() + 2 * i, &hv, 2);
    }
  }
  AttentionStage stage;
  stage.heads = heads;
  stage.chunk = c.chunk;
  stage.n_splits = (c.kv_len + c.chunk - 1) / c.chunk + c.superfluous;
  const Device<float> dq(q);
  const Device<std::byte> dk(kb), dv(vb);
  const auto h_count = static_cast<std::size_t>(c.n_heads);
  const int row_stride = (context + 3) / 4 * 4;
  const std::size_t row_floats = h_count * static_cast<std::size_t>(row_stride);
  const Device<float> scores(row_floats + h_count + 1, kPoison);
  const Device<float> lse(h_count, kPoison), out(h_count * dim + 1, kPoison);
  const Device<float> parts(attention_parts_floats(heads, stage.n_splits), kPoison);
  const Device<unsigned> arrived(static_cast<std::size_t>(c.n_kv_heads * attention_groups(heads)),
                                 0U);
  StepState step;
  step.position = c.kv_len - 1;
  step.rows = scores.get();
  step.row_stride = row_stride;
  const Device<StepState> state(std::vector<StepState>{step});
  std::vector<float> queries(h_count * static_cast<std::size_t>(context) * stride, 0.0F);
  for (std::size_t h = 0; h < h_count; ++h) {
    std::memcpy(queries.data() + (h * static_cast<std::size_t>(context) + n - 1) * stride,
                q.data() + h * dim, dim * sizeof(float));
  }
  const Device<float> dqueries(queries);
  stage.cache = {dk.get(), dv.get(), dqueries.get()};
  stage.q = dq.get();
  stage.scale = 0.3F;
  stage.first_row = 0;
  stage.lse = lse.get();
  stage.out = out.get();
  stage.parts = parts.get();
  stage.arrived = arrived.get();
  stage.state = state.get();
  ASSERT_TRUE(launch_attention_decode(launch_info(), stage).ok());
  const auto first = out.read();
  ASSERT_TRUE(launch_attention_decode(launch_info(), stage).ok());
  const auto got = out.read();
  EXPECT_EQ(0, std::memcmp(first.data(), got.data(), got.size() * sizeof(float)))
      << "a second run differs";
  EXPECT_EQ(got.back(), kPoison);
  const Device<float> probs(h_count * n + 1, kPoison);
  const Device<RawHeadStats> stats(h_count, RawHeadStats{});
  const int bins = 16;
  const Device<std::uint8_t> pooled(h_count * bins + 1, std::uint8_t{77});
  ASSERT_TRUE(launch_attention_rows(launch_info(), lse.get(), c.n_heads, state.get(), stats.get(),
                                    pooled.get(), bins)
                  .ok());
  ASSERT_TRUE(launch_row_probabilities(launch_info(), scores.get(), c.n_heads, row_stride, 0,
                                       c.n_heads, c.kv_len, probs.get())
                  .ok());
  EXPECT_EQ(scores.read().back(), kPoison);
  const auto cells = pooled.read();
  EXPECT_EQ(cells.back(), 77);
  const std::size_t width = [&] {
    std::size_t w = 1;
    while (n > bins * w) {
      w *= 2;
    }
    return w;
  }();
  const auto rows = probs.read();
  const auto summaries = stats.read();
  EXPECT_EQ(rows.back(), kPoison);
  const Device<float> again(n, kPoison);
  for (std::size_t h = 0; h < h_count; ++h) {
    const std::size_t kv = h / (h_count / static_cast<std::size_t>(c.n_kv_heads));
    // The reference wants rows of head_dim.
    std::vector<float> kk, vv;
    for (std::size_t j = 0; j < n; ++j) {
      const std::size_t at = (kv * static_cast<std::size_t>(context) + j) * stride;
      kk.insert(kk.end(), k.begin() + static_cast<std::ptrdiff_t>(at),
                k.begin() + static_cast<std::ptrdiff_t>(at + dim));
      vv.insert(vv.end(), v.begin() + static_cast<std::ptrdiff_t>(at),
                v.begin() + static_cast<std::ptrdiff_t>(at + dim));
    }
    std::vector<float> p(n), o(dim);
    AttentionSummary s;
    AttentionHead oracle;
    oracle.q = q.data() + h * dim;
    oracle.k = kk.data();
    oracle.v = vv.data();
    oracle.kv_len = n;
    oracle.head_dim = dim;
    oracle.scale = 0.3F;
    oracle.probs = p.data();
    oracle.out = o.data();
    reference::attention_head(oracle, &s);
    for (std::size_t d = 0; d < dim; ++d) {
      ASSERT_NEAR(got[h * dim + d], o[d], 2e-5) << "head " << h;
    }
    for (std::size_t j = 0; j < n; ++j) {
      ASSERT_NEAR(rows[h * n + j], p[j], 3e-6) << "head " << h;
    }
    for (std::size_t b = 0; b < bins; ++b) {
      float best = 0.0F;
      for (std::size_t j = b * width; j < std::min(n, (b + 1) * width); ++j) {
        best = std::max(best, rows[h * n + j]);
      }
      ASSERT_NEAR(cells[h * bins + b], std::sqrt(best) * 254.0F, 0.51F) << "bin " << b;
    }
    EXPECT_NEAR(summaries[h].row_sum, 1.0F, 1e-5F);
    EXPECT_NEAR(summaries[h].entropy, s.entropy, 1e-4F * (1.0F + s.entropy));
    EXPECT_EQ(summaries[h].argmax, s.argmax);
    EXPECT_EQ(summaries[h].max, rows[h * n + static_cast<std::size_t>(s.argmax)]);
    EXPECT_EQ(summaries[h].first, rows[h * n]);
    EXPECT_EQ(summaries[h].self, rows[h * n + n - 1]);
    EXPECT_NEAR(summaries[h].lse, s.lse, 1e-4F * (1.0F + std::fabs(s.lse)));
    ASSERT_TRUE(launch_attention_recompute(launch_info(), heads, stage.cache, 0.3F,
                                           static_cast<int>(h), c.kv_len - 1, 1, again.get(),
                                           c.kv_len)
                    .ok());
    const auto recomputed = again.read();
    for (std::size_t j = 0; j < n; ++j) {
      ASSERT_NEAR(recomputed[j], rows[h * n + j], 5e-6) << "recomputed row differs";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, AttentionDecode,
    ::testing::Combine(
        ::testing::Values(AttentionCase{1, 1, 8, 1, 64}, AttentionCase{4, 2, 16, 2, 64},
                          AttentionCase{14, 2, 64, 65, 64}, AttentionCase{6, 2, 24, 130, 64},
                          AttentionCase{18, 2, 128, 1000, 128}, AttentionCase{2, 2, 80, 63, 64},
                          AttentionCase{4, 1, 7, 200, 64}, AttentionCase{3, 1, 256, 33, 64},
                          AttentionCase{9, 3, 64, 2100, 64}, AttentionCase{14, 2, 64, 300, 64, 600},
                          AttentionCase{4, 4, 24, 40, 64, 600}),
        ::testing::Bool()));

}  // namespace
}  // namespace layerscope::kernels::cuda::testing

// The operations that only some architectures need, against the plain CPU versions: odd sizes, one
// key, poisoned outputs.
#include <cmath>

#include "kernels/cuda/plain_ops.h"
#include "tests/gpu/gpu_support.h"

namespace layerscope::kernels::cuda::testing {
namespace {

TEST(NormRows, BothKinds_RowsWithTheirOwnWeights_AgreeWithReference) {
  LS_NEEDS_GPU();
  for (const int width : {1, 3, 64, 257, 1000}) {
    for (const int weight_rows : {1, 3}) {
      const std::size_t n = 6, w = static_cast<std::size_t>(width);
      const auto x = random_values(n * w, 1, 3.0F);
      const auto weight = random_values(static_cast<std::size_t>(weight_rows) * w, 2);
      const auto bias = random_values(static_cast<std::size_t>(weight_rows) * w, 3);
      const Device<float> dx(x), dw(weight), db(bias), out(n * w + 1, kPoison);
      for (const bool centred : {false, true}) {
        NormRows stage{dx.get(),    dw.get(), centred ? db.get() : nullptr,
                       out.get(),   6,        width,
                       weight_rows, 1e-5F,    centred};
        ASSERT_TRUE(launch_norm_rows(launch_info(), stage).ok());
        std::vector<float> expected(n * w);
        for (std::size_t r = 0; r < n; ++r) {
          const std::size_t at = r % static_cast<std::size_t>(weight_rows) * w;
          if (centred) {
            reference::layer_norm(x.data() + r * w, weight.data() + at, bias.data() + at, w, 1e-5F,
                                  expected.data() + r * w);
          } else {
            reference::rms_norm(x.data() + r * w, weight.data() + at, w, 1e-5F,
                                expected.data() + r * w);
          }
        }
        auto got = out.read();
        EXPECT_EQ(got.back(), kPoison);
        got.pop_back();
        EXPECT_LT(difference(got, expected), 2e-6) << width << (centred ? " layer" : " rms");
      }
      NormRows in_place{dx.get(), dw.get(), nullptr,    const_cast<float*>(dx.get()),
                        6,        width,    weight_rows};
      in_place.eps = 1e-5F;
      ASSERT_TRUE(launch_norm_rows(launch_info(), in_place).ok());
      std::vector<float> first(w);
      reference::rms_norm(x.data(), weight.data(), w, 1e-5F, first.data());
      auto got = dx.read();
      got.resize(w);
      EXPECT_LT(difference(got, first), 2e-6);
    }
  }
}

TEST(Append, NormOfSingleHeads_AgreesWithReference) {
  LS_NEEDS_GPU();
  const int n_heads = 3, n_kv = 1, n = 2;
  for (const int dim : {4, 66, 200}) {
    for (const bool own : {false, true}) {
      for (const bool centred : {false, true}) {
        const auto d = static_cast<std::size_t>(dim);
        const HeadLayout heads{n_heads, n_kv, dim, (dim + 7) / 8 * 8, 5, true};
        const auto cache = static_cast<std::size_t>(5 * heads.head_stride);
        const auto q = random_values(2 * 3 * d, 1, 4.0F), k = random_values(2 * d, 2, 4.0F);
        const auto weight = random_values(3 * d, 3);
        const Device<float> dq(q), dk(k), dv(k), dw(weight);
        const Device<float> q_rope(q.size(), kPoison), k_rope(k.size(), kPoison);
        const Device<float> keys(cache, 0.0F), values(cache, 0.0F), queries(3 * cache, 0.0F);
        std::vector<float> angles(2 * 4);
        const std::vector<double> inv_freq{1.0, 0.3};
        rope_angles(2, inv_freq.data(), 2, angles.data());
        rope_angles(3, inv_freq.data(), 2, angles.data() + 4);
        const Device<float> cos_sin(angles);
        AppendStage stage;
        stage.raw[0] = dq.get();
        stage.raw[1] = dk.get();
        stage.raw[2] = dv.get();
        stage.rotated[0] = q_rope.get();
        stage.rotated[1] = k_rope.get();
        stage.cos_sin = cos_sin.get();
        stage.rope = {RopePairing::kHalf, 4};
        stage.heads = heads;
        stage.cache = {keys.get(), values.get(), queries.get()};
        stage.position = 2;
        stage.n = n;
        stage.norm[0] = stage.norm[1] = dw.get();
        stage.norm_own_head = own;
        stage.norm_centred = centred;
        stage.norm_eps = 1e-5F;
        ASSERT_TRUE(launch_append(launch_info(), stage).ok());
        const auto check = [&](const std::vector<float>& raw, int count,
                               const Device<float>& normed, const Device<float>& rotated) {
          std::vector<float> expected(raw.size()), turned;
          for (std::size_t row = 0; row < raw.size() / d; ++row) {
            const auto head = row % static_cast<std::size_t>(count);
            const float* w = weight.data() + (own ? head * d : 0);
            if (centred) {
              reference::layer_norm(raw.data() + row * d, w, nullptr, d, 1e-5F,
                                    expected.data() + row * d);
            } else {
              reference::rms_norm(raw.data() + row * d, w, d, 1e-5F, expected.data() + row * d);
            }
          }
          turned = expected;
          for (std::size_t row = 0; row < raw.size() / d; ++row) {
            rope_apply(turned.data() + row * d,
                       angles.data() + row / static_cast<std::size_t>(count) * 4, 4,
                       RopePairing::kHalf);
          }
          EXPECT_LT(difference(normed.read(), expected), 2e-6) << dim;
          EXPECT_LT(difference(rotated.read(), turned), 4e-6) << dim;
          return turned;
        };
        check(q, n_heads, dq, q_rope);
        const auto turned = check(k, n_kv, dk, k_rope);
        const auto cached = keys.read();
        for (std::size_t t = 0; t < 2; ++t) {
          for (std::size_t i = 0; i < d; ++i) {
            const std::size_t slot = (2 + t) * static_cast<std::size_t>(heads.head_stride);
            ASSERT_NEAR(cached[slot + i], turned[t * d + i], 4e-6 * (1.0 + std::fabs(turned[i])));
          }
        }
        EXPECT_EQ(dv.read(), k);
      }
    }
  }
}

TEST(Activate, EveryKind_WithAndWithoutGate_AgreesWithReference) {
  LS_NEEDS_GPU();
  auto gate = random_values(1003, 1, 6.0F);
  gate[0] = -120.0F;
  gate[1] = 120.0F;
  gate[2] = 0.0F;
  const auto up = random_values(1003, 2);
  const Device<float> dg(gate), du(up), out(1004, kPoison);
  for (const Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    for (const bool gated : {true, false}) {
      std::vector<float> expected(1003);
      reference::activate(kind, gate.data(), gated ? up.data() : nullptr, 1003, expected.data());
      ASSERT_TRUE(launch_activate(launch_info(), kind, dg.get(), gated ? du.get() : nullptr,
                                  out.get(), 1003)
                      .ok());
      auto got = out.read();
      EXPECT_EQ(got.back(), kPoison);
      got.pop_back();
      EXPECT_LT(difference(got, expected), 2e-6) << static_cast<int>(kind);
    }
  }
}

TEST(RowsInPlace, ScaleBiasSumAndCap_AgreeWithReference) {
  LS_NEEDS_GPU();
  const int n = 3, width = 37;
  const auto x = random_values(111, 1), bias = random_values(37, 2), other = random_values(111, 3);
  const std::vector<float> scale{1.0F, 2.0F, 0.5F};
  const Device<float> dx(x), db(bias), ds(scale), dother(other), sum(111, kPoison);
  ASSERT_TRUE(launch_finish_rows(launch_info(), dx.get(), ds.get(), db.get(), n, width).ok());
  ASSERT_TRUE(launch_add_rows(launch_info(), dx.get(), dother.get(), sum.get(), 111).ok());
  const auto got = dx.read(), added = sum.read();
  for (std::size_t i = 0; i < 111; ++i) {
    ASSERT_NEAR(got[i], x[i] * scale[i / 37] + bias[i % 37], 1e-6);
    ASSERT_EQ(added[i], got[i] + other[i]);
  }
  const Device<float> logits(x);
  ASSERT_TRUE(launch_finish_logits(launch_info(), logits.get(), 111, 20.0F, 30.0F).ok());
  std::vector<float> expected = x;
  scale_in_place(expected.data(), 111, 20.0F);
  soft_cap(expected.data(), 111, 30.0F);
  EXPECT_LT(difference(logits.read(), expected), 1e-6);
}

TEST(Embedding, ScaleAndPositions_AndAnglesWithAFactor_AgreeWithReference) {
  LS_NEEDS_GPU();
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    const TestMatrix positions(dtype, 9, 96);
    const auto x = random_values(2 * 96, 1);
    const Device<float> dx(x), angles(2 * 8 + 1, kPoison);
    const Device<std::int32_t> position(std::vector<std::int32_t>{6});
    ASSERT_TRUE(launch_finish_embedding(launch_info(), dx.get(), 2, 96, 3.0F, positions.device(),
                                        position.get())
                    .ok());
    const auto got = dx.read();
    for (std::size_t t = 0; t < 2; ++t) {
      std::vector<float> row(96);
      dequantize_row(dtype, positions.host().row(6 + t), 96, row.data());
      for (std::size_t i = 0; i < 96; ++i) {
        ASSERT_NEAR(got[t * 96 + i], x[t * 96 + i] * 3.0F + row[i], 1e-5);
      }
    }
    const std::vector<double> inv_freq{1.0, 0.1, 0.01, 0.001};
    const Device<double> df(inv_freq);
    ASSERT_TRUE(
        launch_rope_angles(launch_info(), df.get(), position.get(), 2, 8, 1.19, angles.get()).ok());
    const auto values = angles.read();
    EXPECT_EQ(values.back(), kPoison);
    for (std::size_t t = 0; t < 2; ++t) {
      std::vector<float> expected(8);
      rope_angles(6 + static_cast<int>(t), inv_freq.data(), 4, expected.data(), 1.19);
      for (std::size_t i = 0; i < 8; ++i) {
        EXPECT_NEAR(values[t * 8 + i], expected[i], 2e-7);
      }
    }
  }
}

TEST(Route, AnyNumberOfExperts_PicksWhatTheCpuPicks) {
  LS_NEEDS_GPU();
  for (const auto& [experts, used] : {std::pair{2, 1}, {6, 3}, {8, 2}, {64, 8}, {257, 9}, {5, 5}}) {
    const int n = 4;
    const auto e = static_cast<std::size_t>(experts), k = static_cast<std::size_t>(used);
    auto logits = random_values(4 * e, static_cast<unsigned>(experts), 2.0F);
    logits[1] = logits[0];                                                  // equal ones: the first
    std::fill_n(logits.begin() + static_cast<std::ptrdiff_t>(e), e, 1.5F);  // all equal
    logits[2 * e + e / 2] = NAN;
    const Device<float> dl(logits);
    const Device<std::int32_t> chosen(4 * k + 1, std::int32_t{-7});
    const Device<float> numbers(4 * k, kPoison), shares(4 * k, kPoison);
    for (const bool normalise : {true, false}) {
      for (const int skip : {0, used < experts ? 1 : 0}) {
        ASSERT_TRUE(launch_route(launch_info(), {dl.get(), n, experts, used, normalise, skip,
                                                 chosen.get(), numbers.get(), shares.get()})
                        .ok());
        const auto got = chosen.read();
        EXPECT_EQ(got.back(), -7);
        const auto as_float = numbers.read(), weights = shares.read();
        for (std::size_t t = 0; t < 4; ++t) {
          std::vector<std::int32_t> expected(k + 1);
          std::vector<float> share(k + 1);
          const auto first = static_cast<std::size_t>(skip);
          route_experts(logits.data() + t * e, e, k + first, false, expected.data(), share.data());
          double sum = 0.0;
          for (std::size_t i = 0; i < k; ++i) {
            sum += static_cast<double>(share[first + i]);
          }
          for (std::size_t i = 0; i < k; ++i) {
            ASSERT_EQ(got[t * k + i], expected[first + i]) << experts << " token " << t;
            ASSERT_EQ(as_float[t * k + i], static_cast<float>(expected[first + i]));
            const double want = static_cast<double>(share[first + i]) / (normalise ? sum : 1.0);
            if (t != 2) {
              ASSERT_NEAR(weights[t * k + i], want, 1e-6);
            } else {
              ASSERT_TRUE(std::isnan(weights[t * k + i]));
            }
          }
        }
      }
    }
  }
}

class Experts : public ::testing::TestWithParam<DType> {};

TEST_P(Experts, Products_ReadTheChosenRows) {
  LS_NEEDS_GPU();
  for (const auto& [rows, cols] : {std::pair{1, 32}, {7, 96}, {130, 224}}) {
    const int experts = 5, used = 2, n = 3;
    const TestMatrix w(GetParam(), experts * rows, cols);
    const auto r = static_cast<std::size_t>(rows), c = static_cast<std::size_t>(cols);
    const std::vector<std::int32_t> chosen{4, 0, 2, 2, 1, 3};
    const Device<std::int32_t> dchosen(chosen);
    for (const bool per_slot : {false, true}) {
      const std::size_t n_x = per_slot ? 6 : 3;
      const auto x = random_values(n_x * c, 9);
      const Device<float> dx(x), out(6 * r + 1, kPoison);
      ExpertStage stage{w.device(), rows, dchosen.get(), used, n, dx.get(), per_slot, out.get()};
      ASSERT_TRUE(launch_expert_product(launch_info(), stage).ok());
      auto got = out.read();
      EXPECT_EQ(got.back(), kPoison);
      for (std::size_t place = 0; place < 6; ++place) {
        const auto* row = x.data() + (per_slot ? place : place / 2) * c;
        const auto all = w.multiply(std::vector<float>(row, row + c), 1);
        const std::size_t first = static_cast<std::size_t>(chosen[place]) * r;
        for (std::size_t i = 0; i < r; ++i) {
          ASSERT_NEAR(got[place * r + i], all[first + i], 3e-6 * std::sqrt(cols) + 1e-6)
              << rows << "x" << cols << " place " << place << " row " << i;
        }
      }
      // One matrix for all, as a router.
      stage.chosen = nullptr;
      stage.used = 1;
      stage.rows = experts * rows;
      stage.x_per_slot = false;
      const Device<float> whole(static_cast<std::size_t>(n * experts) * r, kPoison);
      stage.out = whole.get();
      ASSERT_TRUE(launch_expert_product(launch_info(), stage).ok());
      const auto all = w.multiply(std::vector<float>(x.begin(), x.begin() + 3 * cols), 3);
      EXPECT_LT(difference(whole.read(), all), 3e-6 * std::sqrt(cols) + 1e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Experts,
                         ::testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0));

TEST(Experts, MovedRows_StandWhereTheIndexSays) {
  LS_NEEDS_GPU();
  const std::vector<std::int32_t> index{4, 0, 5, 1, 3, 2};
  const auto x = random_values(3 * 300, 1);
  const Device<std::int32_t> order(index);
  const Device<float> in(x), gathered(6 * 300, kPoison), back(6 * 300, kPoison);
  ASSERT_TRUE(
      launch_move_rows(launch_info(), {in.get(), gathered.get(), order.get(), 6, 300, 2, false})
          .ok());
  ASSERT_TRUE(
      launch_move_rows(launch_info(), {gathered.get(), back.get(), order.get(), 6, 300, 1, true})
          .ok());
  const auto rows = gathered.read(), again = back.read();
  for (std::size_t i = 0; i < 6; ++i) {
    for (std::size_t k = 0; k < 300; ++k) {
      ASSERT_EQ(rows[i * 300 + k], x[static_cast<std::size_t>(index[i] / 2) * 300 + k]);
      ASSERT_EQ(again[i * 300 + k], x[i / 2 * 300 + k]);
    }
  }
}

TEST(Experts, WeighedSum_AgreesWithReference) {
  LS_NEEDS_GPU();
  const auto parts = random_values(2 * 3 * 301, 1), shares = random_values(6, 2);
  const Device<float> dp(parts), ds(shares), out(2 * 301, kPoison);
  ASSERT_TRUE(launch_weigh_experts(launch_info(), dp.get(), ds.get(), 2, 3, 301, out.get()).ok());
  const auto got = out.read();
  for (std::size_t t = 0; t < 2; ++t) {
    for (std::size_t i = 0; i < 301; ++i) {
      double sum = 0.0;
      for (std::size_t s = 0; s < 3; ++s) {
        sum += static_cast<double>(shares[t * 3 + s]) *
               static_cast<double>(parts[(t * 3 + s) * 301 + i]);
      }
      ASSERT_NEAR(got[t * 301 + i], sum, 1e-5);
    }
  }
}

struct Shape {
  int n_heads, n_kv_heads, head_dim;
};

/// Decode with a cap, a window, both or neither, over one block and over many, against the CPU's
/// head; then the same rows again, and as a prefill leaves them.
TEST(AttentionRuled, AnyRules_AgreeWithReference) {
  LS_NEEDS_GPU();
  for (const Shape shape : {Shape{4, 2, 8}, {3, 1, 33}, {2, 2, 300}}) {
    for (const int kv_len : {1, 2, 63, 64, 65, 200, 700}) {
      for (const ScoreRules rules : {ScoreRules{}, {2.0F, 0}, {0.0F, 1}, {0.0F, 70}, {3.0F, 9}}) {
        const int stride = (shape.head_dim + 7) / 8 * 8;
        const int context = kv_len + 3;
        const HeadLayout heads{shape.n_heads, shape.n_kv_heads, shape.head_dim,
                               stride,        context,          true};
        const auto all_kv = static_cast<std::size_t>(shape.n_kv_heads * context * stride);
        const auto dim = static_cast<std::size_t>(shape.head_dim);
        const auto keys = random_values(all_kv, 1), values = random_values(all_kv, 2);
        const auto q = random_values(static_cast<std::size_t>(shape.n_heads) * dim, 3, 2.0F);
        std::vector<float> queries(static_cast<std::size_t>(shape.n_heads * context * stride));
        for (int h = 0; h < shape.n_heads; ++h) {
          std::copy_n(q.begin() + h * shape.head_dim, shape.head_dim,
                      queries.begin() + (h * context + kv_len - 1) * stride);
        }
        const Device<float> dk(keys), dv(values), dq(q), dqs(queries);
        const int row_stride = (kv_len + 3) / 4 * 4;
        const auto h_count = static_cast<std::size_t>(shape.n_heads);
        const Device<float> rows(h_count * static_cast<std::size_t>(row_stride), kPoison);
        const Device<float> out(h_count * dim, kPoison), lse(h_count, kPoison);
        const int splits = (kv_len + 63) / 64 + 1;  // one too many
        const Device<float> parts(attention_parts_floats(heads, splits), kPoison);
        const Device<unsigned> arrived(h_count, 0U);
        StepState step;
        step.position = kv_len - 1;
        step.rows = rows.get();
        step.row_stride = row_stride;
        const Device<StepState> state(std::vector<StepState>{step});
        AttentionStage stage;
        stage.heads = heads;
        stage.cache = {dk.get(), dv.get(), dqs.get()};
        stage.q = dq.get();
        stage.scale = 0.3F;
        stage.lse = lse.get();
        stage.out = out.get();
        stage.parts = parts.get();
        stage.arrived = arrived.get();
        stage.chunk = 64;
        stage.n_splits = splits;
        stage.state = state.get();
        for (int turn = 0; turn < 2; ++turn) {  // the counters are left zero
          ASSERT_TRUE(launch_attention_ruled(launch_info(), stage, rules).ok());
        }
        const auto got = out.read(), kept = rows.read(), sums = lse.read();
        const Device<float> again(static_cast<std::size_t>(context), kPoison);
        for (int h = 0; h < shape.n_heads; ++h) {
          const std::size_t kv =
              static_cast<std::size_t>(h / (shape.n_heads / shape.n_kv_heads) * context * stride);
          std::vector<float> k(static_cast<std::size_t>(kv_len) * dim), v(k.size());
          for (int j = 0; j < kv_len; ++j) {
            const std::size_t from = kv + static_cast<std::size_t>(j * stride);
            std::copy_n(keys.begin() + static_cast<std::ptrdiff_t>(from), dim,
                        k.begin() + j * shape.head_dim);
            std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(from), dim,
                        v.begin() + j * shape.head_dim);
          }
          std::vector<float> scores(static_cast<std::size_t>(kv_len)), probs(scores.size());
          std::vector<float> expected(dim);
          AttentionHead head;
          head.q = q.data() + h * shape.head_dim;
          head.k = k.data();
          head.v = v.data();
          head.kv_len = static_cast<std::size_t>(kv_len);
          head.head_dim = dim;
          head.scale = 0.3F;
          head.soft_cap = rules.cap;
          head.first_key = static_cast<std::size_t>(
              rules.window > 0 && kv_len > rules.window ? kv_len - rules.window : 0);
          head.scores = scores.data();
          head.probs = probs.data();
          head.out = expected.data();
          AttentionSummary summary;
          reference::attention_head(head, &summary);
          const auto label = "head_dim " + std::to_string(shape.head_dim) + ", " +
                             std::to_string(kv_len) + " keys, cap " + std::to_string(rules.cap) +
                             ", window " + std::to_string(rules.window) + ", head " +
                             std::to_string(h);
          ASSERT_NEAR(sums[static_cast<std::size_t>(h)], summary.lse, 2e-5) << label;
          for (std::size_t d = 0; d < dim; ++d) {
            ASSERT_NEAR(got[static_cast<std::size_t>(h) * dim + d], expected[d], 2e-5) << label;
          }
          ASSERT_TRUE(launch_attention_recompute_ruled(launch_info(), heads, stage.cache, 0.3F,
                                                       rules, h, kv_len - 1, 1, again.get(),
                                                       context)
                          .ok());
          const auto row = again.read();
          for (std::size_t j = 0; j < scores.size(); ++j) {
            const float s = kept[static_cast<std::size_t>(h * row_stride) + j];
            if (std::isinf(scores[j])) {
              ASSERT_EQ(s, scores[j]) << label;
            } else {
              ASSERT_NEAR(s, scores[j], 2e-5) << label;
            }
            ASSERT_NEAR(row[j], probs[j], 5e-6) << label << " key " << j;
          }
          EXPECT_EQ(row[scores.size()], kPoison);
        }
      }
    }
  }
}

TEST(RuleScores, CapAndWindow_AreThoseOfTheCpu) {
  LS_NEEDS_GPU();
  const int heads = 2, n = 5, first = 40, keys = first + n + 3;
  const auto scores = random_values(static_cast<std::size_t>(heads * n * keys), 4, 3.0F);
  for (const ScoreRules rules : {ScoreRules{2.0F, 0}, {0.0F, 7}, {4.0F, 43}}) {
    const Device<float> d(scores);
    ASSERT_TRUE(launch_rule_scores(launch_info(), d.get(), heads, n, keys, first, rules).ok());
    const auto got = d.read();
    for (int h = 0; h < heads; ++h) {
      for (int t = 0; t < n; ++t) {
        for (int j = 0; j < keys; ++j) {
          const auto i = static_cast<std::size_t>((h * n + t) * keys + j);
          const int position = first + t;
          float expected = scores[i];
          if (j <= position) {
            if (rules.cap > 0.0F) {
              soft_cap(&expected, 1, rules.cap);
            }
            if (rules.window > 0 && j <= position - rules.window) {
              expected = -INFINITY;
            }
          }
          if (std::isinf(expected)) {
            ASSERT_EQ(got[i], expected) << t << " " << j;
          } else {
            ASSERT_NEAR(got[i], expected, 1e-6) << t << " " << j;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace layerscope::kernels::cuda::testing

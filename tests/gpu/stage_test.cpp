// The stages of decode that multiply, in every type that is resident: odd shapes, poisoned outputs.
#include <cmath>
#include <limits>

#include "kernels/cuda/dequant_blocks.h"
#include "tests/gpu/gpu_support.h"

namespace layerscope::kernels::cuda::testing {
namespace {

// Float32 sums of n products of size ~1 in another order: about √n · 6e-8, with room.
double sum_tolerance(int cols) { return 3e-6 * std::sqrt(static_cast<double>(cols)); }

class Stage : public ::testing::TestWithParam<DType> {};

TEST_P(Stage, Project_OddShapes_AgreesWithReference) {
  LS_NEEDS_GPU();
  for (const auto& [rows, some_cols] :
       {std::pair{1, 32}, {7, 96}, {33, 224}, {130, 1056}, {4099, 64}, {3, 4864}, {2, 14336}}) {
    const int cols = whole_blocks(GetParam(), some_cols);
    const TestMatrix w(GetParam(), rows, cols);
    const auto x = random_values(static_cast<std::size_t>(cols), 1);
    const auto bias = random_values(static_cast<std::size_t>(rows), 2);
    const auto residual = random_values(static_cast<std::size_t>(rows), 3);
    const Device<float> dx(x), db(bias), dr(residual);
    const std::size_t guarded = static_cast<std::size_t>(rows) + 5;
    const Device<float> block(guarded, kPoison), out(guarded, kPoison);
    ASSERT_TRUE(launch_project(launch_info(),
                               {w.device(), db.get(), dx.get(), dr.get(), block.get(), out.get()})
                    .ok());
    const auto expected = w.multiply(x, 1, bias.data());
    auto got = block.read();
    auto sum = out.read();
    for (std::size_t i = 0; i < guarded; ++i) {
      if (i >= static_cast<std::size_t>(rows)) {
        ASSERT_EQ(got[i], kPoison);
        ASSERT_EQ(sum[i], kPoison);
        continue;
      }
      ASSERT_NEAR(got[i], expected[i], sum_tolerance(cols)) << rows << "x" << cols << " row " << i;
      ASSERT_EQ(sum[i], residual[i] + got[i]);
    }
  }
}

TEST_P(Stage, GateUp_OddShapes_AgreesWithReference) {
  LS_NEEDS_GPU();
  for (const auto& [rows, some_cols] : {std::pair{1, 32}, {13, 96}, {77, 1056}, {5, 5120}}) {
    const int cols = whole_blocks(GetParam(), some_cols);
    const TestMatrix gate(GetParam(), rows, cols, 1), up(GetParam(), rows, cols, 2);
    const auto r = static_cast<std::size_t>(rows);
    const auto c = static_cast<std::size_t>(cols);
    const auto x = random_values(c, 3, 4.0F);
    const auto weight = random_values(c, 4);
    std::vector<float> normed(c);
    reference::rms_norm(x.data(), weight.data(), c, 1e-5F, normed.data());
    const auto g = gate.multiply(normed, 1);
    const auto u = up.multiply(normed, 1);
    std::vector<float> act(r);
    reference::swiglu(g.data(), u.data(), r, act.data());
    const Device<float> dx(x), dw(weight);
    const Device<float> dn(c, kPoison), dg(r, kPoison), du(r, kPoison), da(r + 3, kPoison);
    ASSERT_TRUE(launch_gate_up(launch_info(), {gate.device(), up.device(), dw.get(), 1e-5F,
                                               dx.get(), dn.get(), dg.get(), du.get(), da.get()})
                    .ok());
    EXPECT_LT(difference(dn.read(), normed), 1e-6);
    EXPECT_LT(difference(dg.read(), g), sum_tolerance(cols));
    EXPECT_LT(difference(du.read(), u), sum_tolerance(cols));
    auto got = da.read();
    EXPECT_EQ(got[r], kPoison);
    got.resize(r);
    EXPECT_LT(difference(got, act), 4 * sum_tolerance(cols));
  }
}

TEST_P(Stage, Head_OddRows_AgreesWithReference) {
  LS_NEEDS_GPU();
  for (const auto& [rows, some_cols] : {std::pair{1, 32}, {1003, 160}, {67, 4096}}) {
    const int cols = whole_blocks(GetParam(), some_cols);
    const TestMatrix w(GetParam(), rows, cols);
    const auto r = static_cast<std::size_t>(rows);
    const auto c = static_cast<std::size_t>(cols);
    const auto x = random_values(c, 5);
    const auto weight = random_values(c, 6);
    std::vector<float> normed(c);
    reference::rms_norm(x.data(), weight.data(), c, 1e-5F, normed.data());
    const Device<float> dx(x), dw(weight), dn(c, kPoison), dl(r + 2, kPoison);
    ASSERT_TRUE(
        launch_head(launch_info(), {w.device(), dw.get(), 1e-5F, dx.get(), dn.get(), dl.get()})
            .ok());
    auto got = dl.read();
    EXPECT_EQ(got[r], kPoison);
    got.resize(r);
    EXPECT_LT(difference(got, w.multiply(normed, 1)), sum_tolerance(cols));
  }
}

TEST_P(Stage, Embed_Rows_AreExact) {
  LS_NEEDS_GPU();
  const int cols = whole_blocks(GetParam(), 96);
  const auto width = static_cast<std::size_t>(cols);
  const TestMatrix w(GetParam(), 50, cols);
  const Device<std::int32_t> ids(std::vector<std::int32_t>{49, 0, 7});
  const Device<std::int32_t> position(std::vector<std::int32_t>{30000});
  const std::vector<double> inv_freq{1.0, 0.01, 0.003};
  const Device<double> df(inv_freq);
  const Device<float> out(3 * width, kPoison), cos_sin(18, kPoison);
  ASSERT_TRUE(launch_embed(launch_info(), w.device(), ids.get(), 3, out.get(), df.get(),
                           position.get(), 6, cos_sin.get())
                  .ok());
  const auto got = out.read();
  const auto angles = cos_sin.read();
  for (std::size_t t = 0; t < 3; ++t) {
    std::vector<float> row(width), expected(6);
    const std::size_t id = t == 0 ? 49 : t == 1 ? 0 : 7;
    dequantize_row(GetParam(), w.host().row(id), width, row.data());
    EXPECT_EQ(0, std::memcmp(row.data(), got.data() + t * width, width * sizeof(float)));
    rope_angles(30000 + static_cast<int>(t), inv_freq.data(), 3, expected.data());
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_NEAR(angles[t * 6 + i], expected[i], 1e-7);
    }
  }
}

/// All that the kernels read as they are.
std::vector<DType> resident_types() {
  std::vector<DType> types;
  for (std::uint32_t raw = 0; raw < 64; ++raw) {
    const auto info = find_dtype(raw);
    if (info && info->decodable && resident_dtype(info->dtype) == info->dtype) {
      types.push_back(info->dtype);
    }
  }
  return types;
}

INSTANTIATE_TEST_SUITE_P(Types, Stage, ::testing::ValuesIn(resident_types()),
                         [](const auto& type) { return std::string(dtype_info(type.param).name); });

TEST(StageTypes, ElevenAreResident) { EXPECT_EQ(resident_types().size(), 11U); }

// Block types multiply fixed-point activations: what is not finite must still come through.
TEST_P(Stage, Project_NonFiniteActivation_ReachesEveryRow) {
  LS_NEEDS_GPU();
  const int cols = whole_blocks(GetParam(), 96);
  const TestMatrix w(GetParam(), 40, cols);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    auto x = random_values(static_cast<std::size_t>(cols), 1);
    x[37] = bad;
    const Device<float> dx(x), residual(40, 0.0F), block(40, kPoison), out(40, kPoison);
    ASSERT_TRUE(launch_project(launch_info(), {w.device(), nullptr, dx.get(), residual.get(),
                                               block.get(), out.get()})
                    .ok());
    for (const float v : block.read()) {
      EXPECT_FALSE(std::isfinite(v));
    }
  }
}

TEST_P(Stage, Project_HugeTinyAndNoActivations_AgreeWithReference) {
  LS_NEEDS_GPU();
  const int cols = whole_blocks(GetParam(), 1056);
  const TestMatrix w(GetParam(), 21, cols);
  for (const float factor : {1e20F, 1e-20F, 0.0F}) {
    auto x = random_values(static_cast<std::size_t>(cols), 1);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] *= i % 64 == 5 ? 100.0F * factor : factor;  // outliers among the small
    }
    const Device<float> dx(x), residual(21, 0.0F), block(21, kPoison), out(21, kPoison);
    ASSERT_TRUE(launch_project(launch_info(), {w.device(), nullptr, dx.get(), residual.get(),
                                               block.get(), out.get()})
                    .ok());
    const auto got = block.read();
    const auto expected = w.multiply(x, 1);
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], expected[i], 100.0 * static_cast<double>(factor) * sum_tolerance(cols))
          << "row " << i << " factor " << factor;
    }
  }
}

TEST(StageMixed, GateAndUpOfDifferentTypes_AgreeWithReference) {
  LS_NEEDS_GPU();
  const std::size_t r = 77, c = 512;
  for (const auto& [a, b] : {std::pair{DType::kQ4_K, DType::kQ6_K}, {DType::kQ8_0, DType::kQ5_0}}) {
    const TestMatrix gate(a, 77, 512, 1), up(b, 77, 512, 2);
    const auto x = random_values(c, 3, 4.0F);
    const auto weight = random_values(c, 4);
    std::vector<float> normed(c), act(r);
    reference::rms_norm(x.data(), weight.data(), c, 1e-5F, normed.data());
    const auto g = gate.multiply(normed, 1);
    const auto u = up.multiply(normed, 1);
    reference::swiglu(g.data(), u.data(), r, act.data());
    const Device<float> dx(x), dw(weight);
    const Device<float> dn(c, kPoison), dg(r, kPoison), du(r, kPoison), da(r, kPoison);
    ASSERT_TRUE(launch_gate_up(launch_info(), {gate.device(), up.device(), dw.get(), 1e-5F,
                                               dx.get(), dn.get(), dg.get(), du.get(), da.get()})
                    .ok());
    EXPECT_LT(difference(dn.read(), normed), 1e-6);
    EXPECT_LT(difference(dg.read(), g), sum_tolerance(512));
    EXPECT_LT(difference(du.read(), u), sum_tolerance(512));
    EXPECT_LT(difference(da.read(), act), 4 * sum_tolerance(512));
  }
}

TEST(StageOdd, F16AndF32_ColumnsOfAnyNumber_AgreeWithReference) {
  LS_NEEDS_GPU();
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int cols : {1, 3, 15, 17, 31, 101}) {
      const TestMatrix w(dtype, 9, cols);
      const auto x = random_values(static_cast<std::size_t>(cols), 1);
      const Device<float> dx(x), residual(9, 0.0F), block(9, kPoison), out(9, kPoison);
      ASSERT_TRUE(launch_project(launch_info(), {w.device(), nullptr, dx.get(), residual.get(),
                                                 block.get(), out.get()})
                      .ok());
      EXPECT_LT(difference(block.read(), w.multiply(x, 1)), 1e-4) << cols;
    }
  }
}

// Far more pairs than blocks: several turns, and sections of different lengths.
TEST(StageMixed, ManyHeads_MixedTypes_EqualUniformProducts) {
  LS_NEEDS_GPU();
  const int dim = 128, hidden = 256;
  const HeadLayout heads{64, 8, dim, dim, 2, true};
  const int widths[3] = {64 * dim, 8 * dim, 8 * dim};
  const DType types[3] = {DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
  const auto x = random_values(256, 1, 2.0F);
  const auto weight = random_values(256, 2);
  std::vector<float> normed(256);
  reference::rms_norm(x.data(), weight.data(), 256, 1e-5F, normed.data());
  const Device<float> dx(x), dw(weight), dn(256, kPoison), cos_sin(std::vector<float>(256, 1.0F));
  const Device<StepState> state(std::vector<StepState>{StepState{}});
  const Device<float> keys(8 * 2 * 128, 0.0F), values(8 * 2 * 128, 0.0F),
      queries(64 * 2 * 128, 0.0F);
  QkvStage stage;
  std::vector<std::unique_ptr<TestMatrix>> w;
  std::vector<std::unique_ptr<Device<float>>> raw, rotated;
  for (int i = 0; i < 3; ++i) {
    const auto n = static_cast<std::size_t>(widths[i]);
    w.push_back(
        std::make_unique<TestMatrix>(types[i], widths[i], hidden, static_cast<unsigned>(i)));
    raw.push_back(std::make_unique<Device<float>>(n, kPoison));
    rotated.push_back(std::make_unique<Device<float>>(n, kPoison));
    stage.w[i] = w.back()->device();
    stage.raw[i] = raw.back()->get();
    if (i < 2) {
      stage.rotated[i] = rotated.back()->get();
    }
  }
  stage.norm_weight = dw.get();
  stage.eps = 1e-5F;
  stage.x = dx.get();
  stage.normed = dn.get();
  stage.cos_sin = cos_sin.get();
  stage.rope = {RopePairing::kHalf, dim};
  stage.heads = heads;
  stage.cache = {keys.get(), values.get(), queries.get()};
  stage.state = state.get();
  ASSERT_TRUE(launch_qkv(launch_info(), stage).ok());
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LT(difference(raw[i]->read(), w[i]->multiply(normed, 1)), sum_tolerance(hidden)) << i;
  }
}

}  // namespace
}  // namespace layerscope::kernels::cuda::testing

// Norm and SwiGLU that leave F16 rows, too, against the same in separate steps.
#include <cstring>

#include "kernels/cuda/rows_f16.h"
#include "tests/gpu/gpu_support.h"

namespace layerscope::kernels::cuda::testing {
namespace {

struct Converted {
  std::vector<std::uint16_t> values;
  std::vector<float> scale;
};

Converted converted(const float* x, int n, int width, int stride) {
  const Device<std::uint16_t> out(static_cast<std::size_t>(n * stride) + 1, std::uint16_t{0x7E00});
  const Device<float> scale(static_cast<std::size_t>(n), kPoison);
  EXPECT_TRUE(launch_to_f16(launch_info(), x, n, width, stride, out.get(), scale.get()).ok());
  return {out.read(), scale.read()};
}

void expect_close(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], expected[i], 2e-6F * (1.0F + std::fabs(expected[i]))) << "at " << i;
  }
}

TEST(RowsF16, NormAndSwiglu_AreThoseOfSeparateSteps) {
  LS_NEEDS_GPU();
  for (const auto& [n, width, stride] :
       {std::tuple{1, 4, 8}, {3, 36, 40}, {5, 1028, 1032}, {2, 4096, 4096}, {2, 14336, 14336}}) {
    const auto all = static_cast<std::size_t>(n) * static_cast<std::size_t>(width);
    auto x = random_values(all, 1);
    const auto weight = random_values(static_cast<std::size_t>(width), 2);
    const Device<float> d_x(x), d_weight(weight);
    const Device<float> plain(all, kPoison), fused(all, kPoison);
    const Device<std::uint16_t> half(static_cast<std::size_t>(n * stride) + 1,
                                     std::uint16_t{0x7E00});
    const Device<float> scale(static_cast<std::size_t>(n), kPoison);
    const F16Rows rows{half.get(), stride, scale.get()};
    ASSERT_TRUE(
        launch_rms_norm(launch_info(), d_x.get(), d_weight.get(), n, width, 1e-6F, plain.get())
            .ok());
    ASSERT_TRUE(launch_rms_norm_f16(launch_info(), d_x.get(), d_weight.get(), n, width, 1e-6F,
                                    fused.get(), rows)
                    .ok());
    expect_close(fused.read(), plain.read());
    Converted expected = converted(fused.get(), n, width, stride);
    EXPECT_EQ(half.read(), expected.values);
    EXPECT_EQ(scale.read(), expected.scale);

    // A row beyond F16, and products that still have to be scaled.
    auto up_values = random_values(all, 3);
    up_values[1] = 3e6F;
    std::vector<float> factors(static_cast<std::size_t>(n), 1.0F);
    factors.back() = 2.0F;
    const Device<float> gate_a(x), gate_b(x), up_a(up_values), up_b(up_values);
    const Device<float> factor_a(factors), factor_b(factors);
    const F16Rows act_rows{half.get(), stride, factor_b.get()};
    ASSERT_TRUE(launch_swiglu(launch_info(), gate_a.get(), up_a.get(), factor_a.get(), plain.get(),
                              n, width)
                    .ok());
    ASSERT_TRUE(
        launch_swiglu_f16(launch_info(), gate_b.get(), up_b.get(), fused.get(), n, width, act_rows)
            .ok());
    expect_close(fused.read(), plain.read());
    EXPECT_EQ(gate_a.read(), gate_b.read());
    EXPECT_EQ(up_a.read(), up_b.read());
    expected = converted(fused.get(), n, width, stride);
    EXPECT_EQ(half.read(), expected.values);
    EXPECT_EQ(factor_b.read(), expected.scale);
  }
}

}  // namespace
}  // namespace layerscope::kernels::cuda::testing

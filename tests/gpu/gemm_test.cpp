// Products of many tokens against the naive one: non-square shapes, both layouts, both precisions.
#include <tuple>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/plain_ops.h"
#include "tests/gpu/gpu_support.h"

namespace layerscope::kernels::cuda::testing {
namespace {

class GemmTypes : public ::testing::TestWithParam<std::tuple<DType, bool>> {};

TEST_P(GemmTypes, Product_NonSquareShapes_AgreesWithReference) {
  LS_NEEDS_GPU();
  const auto [dtype, exact] = GetParam();
  for (const auto& [m, n, some_k] : {std::tuple{2, 7, 32}, {17, 33, 96}, {5, 130, 1056}}) {
    const int k = whole_blocks(dtype, some_k);
    const TestMatrix w(dtype, n, k);
    auto x = random_values(static_cast<std::size_t>(m) * static_cast<std::size_t>(k), 4);
    x[1] = 3e5F;  // beyond F16: that row is scaled down and back
    const Device<float> dx(x);
    const Device<std::byte> activations(Gemm::activation_bytes(m, k), std::byte{0});
    const Device<std::byte> matrix(static_cast<std::size_t>(n) * static_cast<std::size_t>(k) * 4,
                                   std::byte{0});
    const Device<float> row_scale(static_cast<std::size_t>(m), kPoison);
    const Device<std::byte> space(Gemm::kCublasBytes, std::byte{0});
    auto gemm = Gemm::create(
        launch_info(), {activations.get(), matrix.get(), row_scale.get(), space.get()}, exact);
    ASSERT_TRUE(gemm.ok()) << gemm.error().message;
    const std::size_t size = static_cast<std::size_t>(m) * static_cast<std::size_t>(n);
    const Device<float> out(size + 1, kPoison);
    ASSERT_TRUE(gemm.value()->set_input(dx.get(), m, w.device()).ok());
    ASSERT_TRUE(gemm.value()->product(w.device(), out.get()).ok());
    ASSERT_TRUE(
        launch_finish_rows(launch_info(), out.get(), gemm.value()->row_scale(), nullptr, m, n)
            .ok());
    const auto got = out.read();
    const auto expected = w.multiply(x, static_cast<std::size_t>(m));
    EXPECT_EQ(got.back(), kPoison);
    // Per row ‖out − ref‖ / ‖ref‖. Rounding x to F16 or to two BF16 gives 2⁻¹² and 2⁻¹⁷ at worst.
    const double bound = exact || dtype == DType::kF32 ? 2e-6 : dtype == DType::kBF16 ? 3e-5 : 6e-4;
    for (int t = 0; t < m; ++t) {
      double error = 0.0, norm = 0.0;
      for (int r = 0; r < n; ++r) {
        const auto i = static_cast<std::size_t>(t * n + r);
        error += std::pow(static_cast<double>(got[i]) - static_cast<double>(expected[i]), 2.0);
        norm += std::pow(static_cast<double>(expected[i]), 2.0);
      }
      EXPECT_LT(std::sqrt(error / norm), bound) << "row " << t << " of " << m << "x" << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Types, GemmTypes,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0,
                                         DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                         DType::kQ4_K, DType::kQ5_K, DType::kQ6_K),
                       ::testing::Bool()));

// More elements than are converted at a time.
TEST(GemmTiles, MatrixBeyondTheWorkSpace_AgreesWithItsRows) {
  LS_NEEDS_GPU();
  const int k = 8192, n = 8192 + 777, m = 3;
  const std::size_t elements = Gemm::matrix_elements(n, k);
  ASSERT_LT(elements, static_cast<std::size_t>(n) * k);
  const TestMatrix small(DType::kQ4_K, 97, k);  // its rows again and again
  const std::size_t row = plane_bytes(DType::kQ4_K, 1, k), side = scale_bytes(DType::kQ4_K, 1, k);
  const Device<std::byte> codes(row * n, std::byte{0}), sides(side * n, std::byte{0});
  for (int r = 0; r < n; r += 97) {
    const auto at = static_cast<std::size_t>(r);
    const auto count = static_cast<std::size_t>(std::min(97, n - r));
    ASSERT_EQ(cudaSuccess, cudaMemcpy(codes.get() + at * row, small.device().data, count * row,
                                      cudaMemcpyDeviceToDevice));
    ASSERT_EQ(cudaSuccess, cudaMemcpy(sides.get() + at * side, small.device().scales, count * side,
                                      cudaMemcpyDeviceToDevice));
  }
  const DeviceMatrix w{DType::kQ4_K, codes.get(), sides.get(), n, k, k};
  const auto x = random_values(static_cast<std::size_t>(m) * k, 4);
  const auto expected = small.multiply(x, m);
  for (const bool exact : {false, true}) {
    const Device<float> dx(x), row_scale(m, kPoison);
    const Device<float> out(static_cast<std::size_t>(m) * n + 1, kPoison);
    const Device<std::byte> activations(Gemm::activation_bytes(m, k), std::byte{0});
    const Device<std::byte> matrix(elements * 4, std::byte{0});
    const Device<std::byte> space(Gemm::kCublasBytes, std::byte{0});
    auto gemm = Gemm::create(
        launch_info(), {activations.get(), matrix.get(), row_scale.get(), space.get()}, exact);
    ASSERT_TRUE(gemm.ok());
    ASSERT_TRUE(gemm.value()->set_input(dx.get(), m, w).ok());
    ASSERT_TRUE(gemm.value()->product(w, out.get()).ok());
    const auto got = out.read();
    EXPECT_EQ(got.back(), kPoison);
    for (int t = 0; t < m; ++t) {
      for (int r = 0; r < n; ++r) {
        ASSERT_NEAR(got[static_cast<std::size_t>(t * n + r)],
                    expected[static_cast<std::size_t>(t * 97 + r % 97)], exact ? 2e-3 : 0.3)
            << t << " " << r;
      }
    }
  }
}

TEST(GemmBatched, BothLayouts_SharedMatrix_AgreeWithNaiveProduct) {
  LS_NEEDS_GPU();
  const int m = 5, n = 9, k = 12, batch = 3;
  const Device<std::byte> space(Gemm::kCublasBytes, std::byte{0});
  auto gemm = Gemm::create(launch_info(), {nullptr, nullptr, nullptr, space.get()}, true);
  ASSERT_TRUE(gemm.ok()) << gemm.error().message;
  for (const bool transposed : {false, true}) {
    const int x_stride = 40, w_stride = transposed ? 16 : 14, out_stride = 11;
    const auto x = random_values(static_cast<std::size_t>(m * x_stride), 1);
    const auto w = random_values(static_cast<std::size_t>((transposed ? k : n) * w_stride), 2);
    const Device<float> dx(x), dw(w);
    const Device<float> out(static_cast<std::size_t>(batch * m * out_stride), kPoison);
    Gemm::Batched b;
    b.x = dx.get();
    b.x_stride = x_stride;
    b.x_batch = k;
    b.w = dw.get();
    b.w_stride = w_stride;
    b.out = out.get();
    b.out_stride = out_stride;
    b.out_batch = m * out_stride;
    b.m = m;
    b.n = n;
    b.k = k;
    b.batch = batch;
    b.alpha = 0.5F;
    b.w_transposed = transposed;
    ASSERT_TRUE(gemm.value()->batched(b).ok());
    const auto got = out.read();
    for (int i = 0; i < batch; ++i) {
      for (int t = 0; t < m; ++t) {
        for (int r = 0; r < out_stride; ++r) {
          const float value = got[static_cast<std::size_t>((i * m + t) * out_stride + r)];
          if (r >= n) {
            ASSERT_EQ(value, kPoison);
            continue;
          }
          double sum = 0.0;
          for (int c = 0; c < k; ++c) {
            const int at = transposed ? c * w_stride + r : r * w_stride + c;
            sum += static_cast<double>(x[static_cast<std::size_t>(t * x_stride + i * k + c)]) *
                   static_cast<double>(w[static_cast<std::size_t>(at)]);
          }
          ASSERT_NEAR(value, 0.5 * sum, 1e-5);
        }
      }
    }
  }
}

}  // namespace
}  // namespace layerscope::kernels::cuda::testing

// Prefill attention in pairs of F16 against the same in float64, and the plain float32 products.
#include <tuple>

#include "kernels/cuda/attention_pairs.h"
#include "tests/gpu/gpu_support.h"

namespace layerscope::kernels::cuda::testing {
namespace {

std::size_t size(int a) { return static_cast<std::size_t>(a); }

/// heads, KV heads, head_dim, tokens, first position
using Shape = std::tuple<int, int, int, int, int>;

class AttentionPairs : public ::testing::TestWithParam<Shape> {};

/// `size_of_queries` is their typical magnitude: 22 bits must be kept of small and of large ones.
void check(const Shape& shape, float size_of_queries) {
  const auto [n_heads, n_kv_heads, dim, n, first] = shape;
  const int per_kv = n_heads / n_kv_heads;
  const int stride = (dim + 7) / 8 * 8;
  const int n_keys = first + n;
  const int context = n_keys + 5;
  const int row = pair_stride(n_keys);
  const auto q = random_values(size(n * n_heads * dim), 1, size_of_queries);
  std::vector<std::uint16_t> k(size(n_kv_heads * context * stride), 0x7E00U);  // NaN if it is read
  auto v = k;
  const auto k_values = random_values(k.size(), 2);
  const auto v_values = random_values(k.size(), 3);
  for (int h = 0; h < n_kv_heads; ++h) {
    for (int j = 0; j < n_keys; ++j) {
      for (int d = 0; d < stride; ++d) {
        const std::size_t at = size((h * context + j) * stride + d);
        k[at] = d < dim ? f32_to_f16(k_values[at]) : std::uint16_t{0};
        v[at] = d < dim ? f32_to_f16(v_values[at]) : std::uint16_t{0};
      }
    }
  }
  const Device<float> d_q(q);
  const Device<std::uint16_t> d_k(k), d_v(v);
  const Device<float> scores(size(n_heads * n * row), kPoison);
  const Device<float> out(size(n * n_heads * dim) + 1, kPoison);
  PairStage s;
  s.heads = {n_heads, n_kv_heads, dim, stride, context, false};
  s.cache = {d_k.get(), d_v.get(), nullptr};
  ASSERT_TRUE(takes_pairs(s.heads));
  const Device<std::byte> q_pair(pair_queries_bytes(s.heads, n), std::byte{0x7E});
  const Device<std::byte> value_pair(pair_values_bytes(s.heads), std::byte{0x7E});
  const Device<const void*> pointers(size(kPairPointers * n_heads), nullptr);
  s.q = d_q.get();
  s.n = n;
  s.n_keys = n_keys;
  s.scores = scores.get();
  s.score_stride = row;
  s.out = out.get();
  s.q_pair = q_pair.get();
  s.value_pair = value_pair.get();
  s.pointers = pointers.get();
  const Device<std::byte> space(Gemm::kCublasBytes, std::byte{0});
  auto gemm = Gemm::create(launch_info(), {nullptr, nullptr, nullptr, space.get()}, false);
  ASSERT_TRUE(gemm.ok()) << gemm.error().message;
  const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
  ASSERT_TRUE(launch_prepare_pairs(launch_info(), s).ok());
  ASSERT_TRUE(pair_scores(*gemm.value(), s, scale).ok());
  const auto got_scores = scores.read();
  double worst_score = 0.0;
  for (int h = 0; h < n_heads; ++h) {
    for (int t = 0; t < n; ++t) {
      for (int j = 0; j < row; ++j) {
        const float got = got_scores[size((h * n + t) * row + j)];
        if (j >= n_keys) {
          ASSERT_EQ(got, kPoison) << "beyond the keys";
          continue;
        }
        double sum = 0.0, magnitude = 0.0;
        for (int d = 0; d < dim; ++d) {
          const double term =
              static_cast<double>(q[size((t * n_heads + h) * dim + d)]) *
              static_cast<double>(f16_to_f32(k[size((h / per_kv * context + j) * stride + d)]));
          sum += term;
          magnitude += std::fabs(term);
        }
        worst_score = std::max(
            worst_score, std::fabs(static_cast<double>(got) - sum * static_cast<double>(scale)) /
                             (magnitude * static_cast<double>(scale)));
      }
    }
  }
  ASSERT_TRUE(launch_softmax(launch_info(), scores.get(), n_heads, n, row, first, {}).ok());
  const auto probabilities = scores.read();
  ASSERT_TRUE(pair_sums(launch_info(), *gemm.value(), s).ok());
  const auto got = out.read();
  EXPECT_EQ(got.back(), kPoison);
  double worst_sum = 0.0;
  for (int t = 0; t < n; ++t) {
    for (int h = 0; h < n_heads; ++h) {
      for (int d = 0; d < dim; ++d) {
        double sum = 0.0, magnitude = 0.0;
        for (int j = 0; j <= first + t; ++j) {
          const double term =
              static_cast<double>(probabilities[size((h * n + t) * row + j)]) *
              static_cast<double>(f16_to_f32(v[size((h / per_kv * context + j) * stride + d)]));
          sum += term;
          magnitude += std::fabs(term);
        }
        worst_sum =
            std::max(worst_sum,
                     std::fabs(static_cast<double>(got[size((t * n_heads + h) * dim + d)]) - sum) /
                         magnitude);
      }
    }
  }
  std::printf("%d/%d heads of %d, %d tokens from %d, queries of %g: scores %.2e, sums %.2e\n",
              n_heads, n_kv_heads, dim, n, first, static_cast<double>(size_of_queries), worst_score,
              worst_sum);
  // Of Σ|terms|: 2⁻²² for the pair, and float32's 2⁻²⁴ per addition on the way.
  EXPECT_LT(worst_score, 2e-6);
  EXPECT_LT(worst_sum, 2e-6);
}

TEST_P(AttentionPairs, ScoresAndSums_KeepFloat32) {
  LS_NEEDS_GPU();
  for (const float magnitude : {1.0F, 1e-3F, 3e4F}) {
    check(GetParam(), magnitude);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionPairs,
                         ::testing::Values(Shape{4, 2, 20, 3, 0}, Shape{14, 2, 64, 33, 7},
                                           Shape{8, 8, 128, 17, 100}, Shape{8, 2, 128, 70, 513},
                                           Shape{2, 1, 96, 1, 0}, Shape{3, 1, 256, 9, 31}));

}  // namespace
}  // namespace layerscope::kernels::cuda::testing

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
  ASSERT_TRUE(pair_sums(launch_info(), *gemm.value(), s, false).ok());
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

/// Everything that soft-max leaves of a chunk.
struct Left {
  std::vector<float> scores, rows;
  std::vector<RawHeadStats> stats;
  std::vector<std::uint8_t> pooled;
};

/// Rows of a token and their log-sum-exps, filled up to 16 bytes as the backend does.
std::size_t floats_of_token(int n_keys, int n_rows) {
  return size(n_rows * ((n_keys + 3) / 4 * 4 + 1) + 3) / 4 * 4;
}

/// The second of three layers of a capture; `pairs`: by launch_pair_softmax, else by
/// launch_softmax.
Left left_by(const PairStage& like, const std::vector<float>& values, int first, int bins,
             bool pairs, bool split) {
  const int n_rows = 3 * like.heads.n_heads;
  const Device<float> scores(values);
  const Device<RawHeadStats> stats(size(like.n * n_rows), RawHeadStats{});
  const Device<std::uint8_t> pooled(size(like.n * n_rows * bins), std::uint8_t{7});
  const std::size_t token_floats = floats_of_token(first + like.n, n_rows);
  const Device<float> rows(size(like.n) * token_floats, kPoison);
  std::vector<RowPlace> places;
  for (int t = 0; t < like.n; ++t) {  // one token is kept nowhere
    const int stride = (first + t + 4) / 4 * 4;
    places.push_back(t == 1 ? RowPlace{} : RowPlace{rows.get() + size(t) * token_floats, stride});
  }
  const Device<RowPlace> d_places(places);
  PairStage s = like;
  s.scores = scores.get();
  const SoftmaxCapture capture{stats.get(), d_places.get(), pooled.get(),
                               bins,        n_rows,         like.heads.n_heads};
  const Status status = pairs ? launch_pair_softmax(launch_info(), s, first, split, capture)
                              : launch_softmax(launch_info(), s.scores, s.heads.n_heads, s.n,
                                               s.score_stride, first, capture);
  EXPECT_TRUE(status.ok());
  return {scores.read(), rows.read(), stats.read(), pooled.read()};
}

TEST(PairSoftmax, RowsAndWhatIsKept_AsThePlainOne) {
  LS_NEEDS_GPU();
  for (const auto& [n, first] : {std::pair{1, 0},
                                 {5, 0},
                                 {9, 1},
                                 {33, 90},
                                 {70, 300},
                                 {6, 506},
                                 {7, 1017},
                                 {130, 0},
                                 {64, 700}}) {
    PairStage s;
    s.heads = {3, 1, 8, 8, first + n, false};
    s.n = n;
    s.n_keys = first + n;
    s.score_stride = pair_stride(s.n_keys);
    const auto row = size(s.score_stride);
    auto values = random_values(size(3 * n) * row, 5, 4.0F);
    values[2 * row] = NAN;  // a row of NaN
    if (n > 4) {
      values[3 * row] = -INFINITY;  // a masked key
    }
    const int bins = first % 3 == 0 ? 48 : 64;
    const Left plain = left_by(s, values, first, bins, false, false);
    const Left fast = left_by(s, values, first, bins, true, false);
    const Left split = left_by(s, values, first, bins, true, true);
    const auto same = [](float a, float b, float tolerance) {
      return std::isnan(a) ? std::isnan(b) : std::fabs(a - b) <= tolerance;
    };
    for (std::size_t i = 0; i < plain.scores.size(); ++i) {
      ASSERT_TRUE(same(plain.scores[i], fast.scores[i], 1e-6F * plain.scores[i] + 1e-12F))
          << n << " from " << first << " at " << i;
    }
    for (std::size_t i = 0; i < plain.stats.size(); ++i) {
      const RawHeadStats& a = plain.stats[i];
      const RawHeadStats& b = fast.stats[i];
      ASSERT_TRUE(same(a.row_sum, b.row_sum, 2e-6F)) << a.row_sum << " " << b.row_sum;
      ASSERT_TRUE(same(a.entropy, b.entropy, 2e-5F)) << a.entropy << " " << b.entropy;
      ASSERT_TRUE(same(a.max, b.max, 1e-6F)) << a.max << " " << b.max;
      ASSERT_EQ(a.argmax, b.argmax) << n << " from " << first << " at " << i;
      ASSERT_TRUE(same(a.first, b.first, 1e-6F)) << a.first << " " << b.first;
      ASSERT_TRUE(same(a.self, b.self, 1e-6F)) << a.self << " " << b.self;
      ASSERT_TRUE(same(a.lse, b.lse, 1e-5F)) << a.lse << " " << b.lse;
      const RawHeadStats& c = split.stats[i];
      ASSERT_TRUE(same(b.row_sum, c.row_sum, 0.0F) && same(b.entropy, c.entropy, 0.0F) &&
                  same(b.max, c.max, 0.0F) && b.argmax == c.argmax && same(b.lse, c.lse, 0.0F));
    }
    for (std::size_t i = 0; i < plain.pooled.size(); ++i) {
      ASSERT_NEAR(plain.pooled[i], fast.pooled[i], 1) << n << " from " << first << " at " << i;
    }
    ASSERT_EQ(fast.pooled, split.pooled);
    // Kept rows: the seen scores, bit for bit, and the log-sum-exps behind all rows of a token.
    const std::size_t n_rows = 9;
    const std::size_t token_floats = floats_of_token(first + n, 9);
    for (int t = 0; t < n; ++t) {
      const std::size_t stride = size(first + t + 4) / 4 * 4;
      for (std::size_t r = 0; r < n_rows; ++r) {
        for (std::size_t j = 0; j <= size(first + t); ++j) {
          const std::size_t at = size(t) * token_floats + r * stride + j;
          ASSERT_TRUE(same(plain.rows[at], fast.rows[at], 0.0F) || plain.rows[at] == fast.rows[at])
              << "token " << t << " row " << r << " key " << j;
        }
        const std::size_t lse = size(t) * token_floats + n_rows * stride + r;
        ASSERT_TRUE(same(plain.rows[lse], fast.rows[lse], 1e-5F)) << "token " << t << " row " << r;
      }
    }
    // The pairs are those of the probabilities: to 2⁻²² of them, or to half of F16's smallest step.
    const auto* halves = reinterpret_cast<const std::uint16_t*>(split.scores.data());
    for (std::size_t i = 0; i < fast.scores.size(); ++i) {
      const std::size_t at = i / 8 * 16 + i % 8;
      const float high = f16_to_f32(halves[at]);
      const float low = f16_to_f32(halves[at + 8]);
      ASSERT_TRUE(same(fast.scores[i] * 4096.0F, high + low,
                       std::max(4096.0F * fast.scores[i] * 0x1p-21F, 0x1p-24F)))
          << n << " from " << first << " at " << i;
    }
  }
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

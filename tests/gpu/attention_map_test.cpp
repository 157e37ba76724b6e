// The pooled map of a head against plain loops in double, whole and in parts, over odd sizes.
#include "kernels/cuda/attention_map.h"
#include "tests/gpu/gpu_support.h"

namespace layerscope::kernels::cuda {
namespace {

using testing::Device;
using testing::kPoison;
using testing::random_values;

struct Case {
  int n_heads, n_kv_heads, head_dim, tokens, first_query, n_queries, first_key, n_keys, bin;
  bool kv_f32, scores;
  ScoreRules rules = {};
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.tokens << " tokens, queries " << c.first_query << "+" << c.n_queries << ", keys "
             << c.first_key << "+" << c.n_keys << ", bin " << c.bin << ", head_dim " << c.head_dim;
}

class AttentionMapGpu : public ::testing::TestWithParam<Case> {};

/// Scores of one query, or its probabilities.
std::vector<double> naive_row(const std::vector<float>& q, const std::vector<float>& k,
                              std::size_t stride, int position, double scale, bool scores,
                              const ScoreRules& rules) {
  std::vector<double> row(static_cast<std::size_t>(position) + 1);
  double top = -1e300;
  for (std::size_t j = 0; j < row.size(); ++j) {
    double dot = 0.0;
    for (std::size_t d = 0; d < stride; ++d) {
      dot += static_cast<double>(q[static_cast<std::size_t>(position) * stride + d]) *
             static_cast<double>(k[j * stride + d]);
    }
    row[j] = dot * scale;
    if (rules.cap > 0.0F) {
      const auto cap = static_cast<double>(rules.cap);
      row[j] = cap * std::tanh(row[j] / cap);
    }
    if (rules.window > 0 && static_cast<int>(j) <= position - rules.window) {
      row[j] = -INFINITY;
    }
    top = std::max(top, row[j]);
  }
  double sum = 0.0;
  for (const double v : row) {
    sum += std::exp(v - top);
  }
  for (double& v : row) {
    v = scores ? v : std::exp(v - top) / sum;
  }
  return row;
}

TEST_P(AttentionMapGpu, Pooled_EqualsNaive) {
  LS_NEEDS_GPU();
  const Case& c = GetParam();
  const auto stride = static_cast<std::size_t>((c.head_dim + 7) / 8 * 8);
  const auto context = static_cast<std::size_t>(c.tokens + 5);
  const int head = c.n_heads - 1;
  std::vector<float> queries =
      random_values(static_cast<std::size_t>(c.n_heads) * context * stride, 1);
  std::vector<float> keys =
      random_values(static_cast<std::size_t>(c.n_kv_heads) * context * stride, 2);
  std::vector<std::uint16_t> halves(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i % stride >= static_cast<std::size_t>(c.head_dim)) {
      keys[i] = 0.0F;
    }
    halves[i] = f32_to_f16(keys[i]);
    if (!c.kv_f32) {
      keys[i] = f16_to_f32(halves[i]);
    }
  }
  const Device<float> d_queries(queries);
  const Device<float> d_keys(keys);
  const Device<std::uint16_t> d_halves(halves);
  const int width = (c.n_keys + c.bin - 1) / c.bin;
  const int rows = (c.n_queries + c.bin - 1) / c.bin;
  const int row_stride = width + 3;
  const Device<float> lse(static_cast<std::size_t>(c.n_queries), kPoison);
  const Device<float> cells(static_cast<std::size_t>(rows * row_stride), kPoison);

  AttentionMapStage stage;
  stage.heads = {
      c.n_heads, c.n_kv_heads, c.head_dim, static_cast<int>(stride), static_cast<int>(context),
      c.kv_f32};
  stage.cache = {c.kv_f32 ? static_cast<void*>(d_keys.get()) : d_halves.get(), nullptr,
                 d_queries.get()};
  stage.scale = 0.31F;
  stage.rules = c.rules;
  stage.head = head;
  stage.first_query = c.first_query;
  stage.n_queries = c.n_queries;
  stage.first_key = c.first_key;
  stage.n_keys = c.n_keys;
  stage.bin = c.bin;
  stage.scores = c.scores;
  stage.lse = lse.get();
  stage.cells = cells.get();
  stage.stride = row_stride;
  ASSERT_TRUE(launch_attention_map(testing::launch_info(), stage).ok());
  const std::vector<float> got = cells.read();

  const std::vector<float> q(queries.begin() + static_cast<std::ptrdiff_t>(head * context * stride),
                             queries.end());
  const std::vector<float> k(
      keys.begin() + static_cast<std::ptrdiff_t>((c.n_kv_heads - 1) * context * stride),
      keys.end());
  std::vector<float> expected(got.size(), kPoison);
  for (int r = 0; r < rows; ++r) {
    std::fill_n(expected.begin() + r * row_stride, width, kMapHole);
  }
  for (int i = 0; i < c.n_queries; ++i) {
    const std::vector<double> row =
        naive_row(q, k, stride, c.first_query + i, 0.31, c.scores, c.rules);
    for (int j = 0; j < c.n_keys && c.first_key + j <= c.first_query + i; ++j) {
      float& cell = expected[static_cast<std::size_t>(i / c.bin * row_stride + j / c.bin)];
      cell = std::max(cell, static_cast<float>(row[static_cast<std::size_t>(c.first_key + j)]));
    }
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (expected[i] == kMapHole || expected[i] == kPoison) {
      ASSERT_EQ(got[i], expected[i]) << "cell " << i;
    } else {
      ASSERT_NEAR(got[i], expected[i], 2e-5 * (1.0 + std::fabs(expected[i]))) << "cell " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, AttentionMapGpu,
    ::testing::Values(Case{4, 2, 64, 1, 0, 1, 0, 1, 1, false, false},
                      Case{4, 2, 64, 63, 0, 63, 0, 63, 1, false, false},
                      Case{6, 2, 40, 130, 0, 130, 0, 130, 2, true, false},
                      Case{6, 2, 128, 300, 0, 300, 0, 300, 128, false, false},
                      Case{8, 8, 32, 517, 200, 317, 64, 400, 4, false, true},
                      Case{14, 2, 64, 700, 640, 60, 0, 700, 64, true, false},
                      Case{2, 1, 256, 200, 5, 190, 100, 100, 1, false, false},
                      Case{4, 2, 64, 300, 0, 300, 0, 300, 2, true, false, {0.0F, 70}},
                      Case{4, 2, 64, 190, 20, 170, 10, 180, 1, false, false, {2.0F, 9}},
                      Case{2, 2, 32, 130, 0, 130, 0, 130, 1, true, true, {3.0F, 0}}));

TEST(AttentionMapGpu, NotANumber_WinsItsCell) {
  LS_NEEDS_GPU();
  std::vector<float> queries = random_values(100 * 32, 3);
  queries[70 * 32 + 4] = NAN;
  const Device<float> d_queries(queries);
  const Device<float> d_keys(random_values(100 * 32, 4));
  const Device<float> lse(100, kPoison);
  const Device<float> cells(100, kPoison);
  AttentionMapStage stage;
  stage.heads = {1, 1, 32, 32, 100, true};
  stage.cache = {d_keys.get(), nullptr, d_queries.get()};
  stage.n_queries = 100;
  stage.n_keys = 100;
  stage.bin = 16;
  stage.lse = lse.get();
  stage.cells = cells.get();
  stage.stride = 7;
  ASSERT_TRUE(launch_attention_map(testing::launch_info(), stage).ok());
  const std::vector<float> got = cells.read();
  for (int column = 0; column < 7; ++column) {
    const bool of_query_70 = column <= 70 / 16;
    EXPECT_EQ(std::isnan(got[static_cast<std::size_t>(4 * 7 + column)]), of_query_70) << column;
    EXPECT_FALSE(std::isnan(got[static_cast<std::size_t>(5 * 7 + column)])) << column;
  }
}

}  // namespace
}  // namespace layerscope::kernels::cuda

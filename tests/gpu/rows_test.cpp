// Row-wise GPU operations and summaries against the plain CPU version or a sorted list.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/gpu/gpu_support.h"

namespace layerscope::kernels::cuda::testing {
namespace {

TEST(RowOps, NormSwigluAdd_AgreeWithReference) {
  LS_NEEDS_GPU();
  for (const std::size_t width : {1UL, 33UL, 897UL}) {
    const std::size_t n = 3;
    const auto x = random_values(n * width, 1, 20.0F);
    const auto y = random_values(n * width, 2, 3.0F);
    const auto w = random_values(width, 3);
    const int iw = static_cast<int>(width);
    const Device<float> dx(x), dw(w), out(n * width + 1, kPoison);
    ASSERT_TRUE(launch_rms_norm(launch_info(), dx.get(), dw.get(), 3, iw, 1e-6F, out.get()).ok());
    std::vector<float> expected(n * width);
    for (std::size_t t = 0; t < n; ++t) {
      reference::rms_norm(x.data() + t * width, w.data(), width, 1e-6F,
                          expected.data() + t * width);
    }
    auto got = out.read();
    EXPECT_EQ(got.back(), kPoison);
    got.pop_back();
    EXPECT_LT(difference(got, expected), 2e-6);

    const std::vector<float> scale{1.0F, 2.0F, 0.5F};
    const Device<float> ds(scale), gate(x), up(y), act(n * width, kPoison);
    ASSERT_TRUE(
        launch_swiglu(launch_info(), gate.get(), up.get(), ds.get(), act.get(), 3, iw).ok());
    const Device<float> block(x), residual(y), sum(n * width, kPoison);
    ASSERT_TRUE(launch_add_block(launch_info(), block.get(), ds.get(), dw.get(), residual.get(),
                                 sum.get(), 3, iw)
                    .ok());
    const auto g = gate.read(), u = up.read(), a = act.read(), b = block.read(), s = sum.read();
    for (std::size_t t = 0; t < n; ++t) {
      std::vector<float> row(width);
      for (std::size_t i = 0; i < width; ++i) {
        const std::size_t at = t * width + i;
        ASSERT_EQ(g[at], x[at] * scale[t]);
        ASSERT_EQ(u[at], y[at] * scale[t]);
        ASSERT_NEAR(b[at], x[at] * scale[t] + w[i], 1e-5);
        ASSERT_EQ(s[at], y[at] + b[at]);
      }
      reference::swiglu(g.data() + t * width, u.data() + t * width, width, row.data());
      const std::vector<float> mine(a.begin() + static_cast<std::ptrdiff_t>(t * width),
                                    a.begin() + static_cast<std::ptrdiff_t>((t + 1) * width));
      EXPECT_LT(difference(mine, row), 2e-6);
    }
  }
}

TEST(RowStats, SpecialValues_AgreeWithReference) {
  LS_NEEDS_GPU();
  for (const std::size_t n : {1UL, 7UL, 33UL, 5000UL}) {
    auto x = random_values(2 * n, 5, 4.0F);
    if (n > 5) {
      x[0] = std::numeric_limits<float>::quiet_NaN();
      x[3] = -std::numeric_limits<float>::infinity();
      x[4] = 0.0F;
      x[5] = -0.0F;
      x[6] = 1e25F;
    }
    const Device<float> dx(x);
    const Device<StatsEntry> entries(
        std::vector<StatsEntry>{{dx.get(), static_cast<std::int32_t>(n), 1}});
    const Device<RawStats> out(6, RawStats{});
    ASSERT_TRUE(launch_row_stats(launch_info(), entries.get(), 1, 2, out.get(), 3).ok());
    const auto got = out.read();
    for (std::size_t t = 0; t < 2; ++t) {
      const auto plain = reference::row_stats(x.data() + t * n, n);
      const RawStats& mine = got[t * 3 + 1];
      EXPECT_EQ(mine.non_finite, plain.non_finite);
      EXPECT_EQ(mine.zeros, plain.zeros);
      EXPECT_EQ(mine.absmax, plain.absmax);
      EXPECT_EQ(mine.count, n);
      EXPECT_NEAR(mine.sum, plain.sum, 1e-12 * (1.0 + std::fabs(plain.sum)) + 1e-9);
      EXPECT_NEAR(mine.sum_squares, plain.sum_squares, 1e-12 * (1.0 + plain.sum_squares));
    }
    EXPECT_EQ(got[0].count, 0U);
    EXPECT_EQ(got[2].count, 0U);
  }
}

TEST(LogitSummary, LargeVocabulary_TiesAndSpecialValues_AgreeWithSorting) {
  LS_NEEDS_GPU();
  for (const int n : {1, 40, 1000, 152000}) {
    const auto count = static_cast<std::size_t>(n);
    auto x = random_values(count, 8, 3.0F);
    std::vector<std::uint8_t> usable(count, 1);
    for (std::size_t i = 0; i < count; ++i) {
      x[i] = std::round(x[i] * 64.0F) / 64.0F;  // equal logits: the smaller id comes first
      usable[i] = i % 7 == 3 ? 0 : 1;
    }
    if (n > 500) {
      x[100] = std::numeric_limits<float>::quiet_NaN();
      x[200] = std::numeric_limits<float>::infinity();
    }
    const Device<float> dx(x);
    const Device<std::uint8_t> du(usable);
    const Device<LogitPart> parts(static_cast<std::size_t>(logit_parts(n)), LogitPart{});
    const Device<RawLogitSummary> out(1, RawLogitSummary{});
    ASSERT_TRUE(
        launch_logit_summary(launch_info(), dx.get(), du.get(), n, parts.get(), out.get()).ok());
    const RawLogitSummary got = out.read()[0];
    std::vector<std::int32_t> order;
    double top = -INFINITY, total = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      if (usable[i] != 0 && std::isfinite(x[i])) {
        order.push_back(static_cast<std::int32_t>(i));
        top = std::max(top, static_cast<double>(x[i]));
      }
    }
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      const float la = x[static_cast<std::size_t>(a)], lb = x[static_cast<std::size_t>(b)];
      return la != lb ? la > lb : a < b;
    });
    for (const std::int32_t id : order) {
      total += std::exp(static_cast<double>(x[static_cast<std::size_t>(id)]) - top);
    }
    ASSERT_EQ(got.n_top, std::min<int>(kTopLogits, static_cast<int>(order.size()))) << n;
    for (int i = 0; i < got.n_top; ++i) {
      EXPECT_EQ(got.ids[i], order[static_cast<std::size_t>(i)]) << n << " place " << i;
    }
    EXPECT_EQ(got.n_usable, order.size());
    EXPECT_EQ(got.non_finite, n > 500 ? 2U : 0U);
    EXPECT_NEAR(got.exp_sum, total, 1e-10 * total);
  }
  // All equal: too many to rank here, and it says so.
  const Device<float> same(50000, 1.0F);
  const Device<std::uint8_t> all(50000, std::uint8_t{1});
  const Device<LogitPart> parts(256, LogitPart{});
  const Device<RawLogitSummary> out(1, RawLogitSummary{});
  ASSERT_TRUE(
      launch_logit_summary(launch_info(), same.get(), all.get(), 50000, parts.get(), out.get())
          .ok());
  EXPECT_EQ(out.read()[0].n_top, -1);
}

TEST(Softmax, CausalRows_AgreeWithReferenceAndMaskTheRest) {
  LS_NEEDS_GPU();
  const int heads = 3, n = 5, first = 130, keys = first + n;
  const auto scores = random_values(static_cast<std::size_t>(heads * n * keys), 4, 3.0F);
  const Device<float> d(scores), masked(scores);
  const int n_rows = heads + 2;  // the layer's first row is 2
  const auto all = static_cast<std::size_t>(n * n_rows);
  const Device<RawHeadStats> stats(all, RawHeadStats{});
  const int bins = 16;
  const Device<std::uint8_t> pooled(all * bins, std::uint8_t{77});
  const int stride = 140;
  const std::size_t block = static_cast<std::size_t>(n_rows) * (stride + 1);
  const Device<float> kept(block, kPoison);
  std::vector<RowPlace> where(n);
  where[3] = {kept.get(), stride};  // one token's rows are kept, there is no room for the others
  const Device<RowPlace> places(where);
  ASSERT_TRUE(launch_mask(launch_info(), masked.get(), heads, n, keys, first).ok());
  ASSERT_TRUE(launch_softmax(launch_info(), d.get(), heads, n, keys, first,
                             {stats.get(), places.get(), pooled.get(), bins, n_rows, 2})
                  .ok());
  const auto cells = pooled.read();
  const auto rows = kept.read();
  const auto got = d.read(), m = masked.read();
  const auto s = stats.read();
  for (int h = 0; h < heads; ++h) {
    for (int t = 0; t < n; ++t) {
      const auto at = static_cast<std::size_t>((h * n + t) * keys);
      double top = -INFINITY, total = 0.0, entropy = 0.0;
      for (int j = 0; j <= first + t; ++j) {
        top = std::max(top, static_cast<double>(scores[at + static_cast<std::size_t>(j)]));
      }
      for (int j = 0; j <= first + t; ++j) {
        total += std::exp(static_cast<double>(scores[at + static_cast<std::size_t>(j)]) - top);
      }
      for (int j = 0; j < keys; ++j) {
        const std::size_t i = at + static_cast<std::size_t>(j);
        const double p = std::exp(static_cast<double>(scores[i]) - top) / total;
        if (j > first + t) {
          ASSERT_EQ(got[i], 0.0F);
          ASSERT_EQ(m[i], -INFINITY);
        } else {
          ASSERT_NEAR(got[i], p, 1e-6);
          ASSERT_EQ(m[i], scores[i]);
          entropy -= p * std::log(p);
        }
      }
      const auto row = static_cast<std::size_t>(t * n_rows + 2 + h);
      const RawHeadStats& r = s[row];
      const int width = 16;  // 131 to 135 keys in 16 cells
      for (int b = 0; b < bins; ++b) {
        float best = 0.0F;
        for (int j = b * width; j <= std::min(first + t, (b + 1) * width - 1); ++j) {
          best = std::max(best, got[at + static_cast<std::size_t>(j)]);
        }
        ASSERT_NEAR(cells[row * bins + static_cast<std::size_t>(b)], std::sqrt(best) * 254.0F,
                    0.51F);
      }
      if (t == 3) {
        const auto from = static_cast<std::size_t>((2 + h) * stride);
        EXPECT_EQ(0, std::memcmp(rows.data() + from, scores.data() + at,
                                 static_cast<std::size_t>(first + t + 1) * sizeof(float)));
        EXPECT_EQ(rows[from + static_cast<std::size_t>(first + t) + 1], kPoison);
        EXPECT_EQ(rows[static_cast<std::size_t>(n_rows * stride + 2 + h)], r.lse);
      }
      EXPECT_NEAR(r.entropy, entropy, 1e-4);
      EXPECT_NEAR(r.row_sum, 1.0, 1e-5);
      EXPECT_NEAR(r.lse, top + std::log(total), 1e-5);
      EXPECT_EQ(r.max, got[at + static_cast<std::size_t>(r.argmax)]);
    }
  }
}

}  // namespace
}  // namespace layerscope::kernels::cuda::testing

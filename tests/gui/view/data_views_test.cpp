// Norms, logits and head statistics against naive code, with gaps, rewinds and non-finite values.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "gui/view/head_table.h"
#include "gui/view/logits_view.h"
#include "gui/view/norms.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui::view {
namespace {

using sample::Builder;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(NormsMap, GrowingRewindingAndPooling_EqualNaive) {
  Builder builder({3, 1, 4});
  NormsMap map;
  StatRange range;
  const StatChoice choice{capture::Tap::kFfnOut};
  for (const int n : {1, 64, 65, 200, 150, 4200}) {
    const int had = builder.build()->n_frames;
    const auto s = builder.cut_to(std::min(n, had)).grow_to(n).build();
    map.update(*s, choice);
    range.update(*s, choice);
    float lo = std::numeric_limits<float>::max();
    float hi = 0.0F;
    for (int layer = 0; layer < 3; ++layer) {
      for (int c = 0; c < map.columns(); ++c) {
        float naive = HeatmapData::kHole;
        for (int p = c * map.bin(); p < std::min((c + 1) * map.bin(), n); ++p) {
          const float value = s->frame(p)->stats(layer, capture::Tap::kFfnOut).l2;
          naive = std::max(naive, value);
          lo = std::min(lo, value);
          hi = std::max(hi, value);
        }
        ASSERT_EQ(map.cell(layer, c), naive) << n << " " << layer << " " << c;
      }
    }
    EXPECT_EQ(range.lo(), lo);
    EXPECT_EQ(range.hi(), hi);
    EXPECT_EQ(map.bin(), n > 4096 ? 4 : 1);
  }
}

TEST(NormsMap, NonFiniteAndMissing_AreMarkedAndLeftOutOfTheRange) {
  Builder builder({2, 1, 1});
  builder.grow_to(3);
  const auto edit = [](int position, capture::TapStats stats) {
    return [position, stats](capture::TokenFrame& f) {
      f.taps[capture::kNumTaps + static_cast<std::size_t>(capture::Tap::kQ)] = stats;
      f.position = position;
    };
  };
  builder.change(0, edit(0, {5.0F, 1, 0, 16, 2, 0})).change(1, edit(1, {}));
  NormsMap map;
  StatRange range;
  const auto s = builder.build();
  map.update(*s, {capture::Tap::kQ});
  range.update(*s, {capture::Tap::kQ});
  EXPECT_TRUE(std::isnan(map.cell(1, 0)));
  EXPECT_EQ(map.cell(1, 1), HeatmapData::kHole);
  EXPECT_TRUE(std::isfinite(range.lo()) && range.lo() > 0.0F && range.hi() >= range.lo());
  EXPECT_TRUE(std::isnan(norm_profile(s->frame(0), capture::Tap::kQ)[1]));
  EXPECT_EQ(norm_profile(s->frame(1), capture::Tap::kQ)[1], HeatmapData::kHole);
  EXPECT_TRUE(norm_profile(nullptr, capture::Tap::kQ).empty());
}

TEST(NormsMap, ModelWideTap_HasOneRow) {
  Builder builder({2, 1, 1});
  NormsMap map;
  const auto s = builder.grow_to(4).build();
  map.update(*s, {capture::Tap::kEmbedding});
  EXPECT_EQ(map.rows(), 1);
  EXPECT_EQ(map.cell(0, 2), s->frame(2)->stats(-1, capture::Tap::kEmbedding).l2);
}

TEST(LogitBars, Ranks_MoveAgainstTheStepBefore) {
  Builder builder({1, 1, 2});
  builder.grow_to(5);
  const auto with = [](std::vector<capture::TopToken> top) {
    return [top](capture::TokenFrame& f) {
      f.logits->top = top;
      f.logits->best_padded = {61, 20.0F, 0.0F};
    };
  };
  builder.change(2, with({{7, 3.0F, 0.5F}, {8, 2.0F, 0.3F}, {9, 1.0F, 0.1F}}));
  builder.change(3, with({{9, 5.0F, 0.6F}, {7, 4.0F, 0.3F}, {11, 1.0F, 0.05F}}));
  builder.change(4, [](capture::TokenFrame& f) { f.id = 7; });
  const auto s = builder.build();
  const LogitBars bars = logit_bars(*s, 3, 10);
  ASSERT_TRUE(bars.known);
  ASSERT_EQ(bars.bars.size(), 3U);
  EXPECT_EQ(bars.bars[0].moved, 2);
  EXPECT_EQ(bars.bars[1].moved, -1);
  EXPECT_FALSE(bars.bars[2].moved.has_value());
  EXPECT_TRUE(bars.bars[1].chosen);
  EXPECT_FALSE(bars.bars[0].chosen);
  EXPECT_FLOAT_EQ(bars.bars[0].length, 1.0F);
  EXPECT_FLOAT_EQ(bars.bars[1].length, 0.5F);
  EXPECT_TRUE(bars.padded_wins);
  EXPECT_EQ(bars.best_padded.id, 61);
  EXPECT_FALSE(logit_bars(*s, 0, 10).known);
  EXPECT_FALSE(logit_bars(*s, 99, 10).known);
  EXPECT_EQ(logit_bars(*s, 3, 1).bars.size(), 1U);
  ASSERT_TRUE(logit_bars(*s, 3, 1).chosen_below.has_value());
  EXPECT_EQ(logit_bars(*s, 3, 1).chosen_below->id, 7);
}

TEST(LogitBars, NonFiniteProbabilities_GiveFiniteLengths) {
  Builder builder({1, 1, 1});
  builder.grow_to(1).change(0, [](capture::TokenFrame& f) {
    f.logits->top = {{1, kNan, kNan}, {2, std::numeric_limits<float>::infinity(), 0.5F}};
    f.logits->non_finite = 3;
  });
  const LogitBars bars = logit_bars(*builder.build(), 0, 5);
  for (const LogitBar& bar : bars.bars) {
    EXPECT_TRUE(bar.length >= 0.0F && bar.length <= 1.0F);
  }
  EXPECT_EQ(bars.non_finite, 3U);
}

TEST(LogitSeries, PromptGapsAndRewind) {
  Builder builder({1, 1, 4});
  LogitSeries series;
  auto s = builder.grow_to(10).build();
  series.update(*s);
  ASSERT_EQ(series.entropy.size(), 10U);
  EXPECT_EQ(series.entropy[2], HeatmapData::kHole);
  EXPECT_EQ(series.entropy[5], s->frame(5)->logits->entropy);
  s = builder.cut_to(6).grow_to(8).build();
  series.update(*s);
  ASSERT_EQ(series.max.size(), 8U);
  for (std::size_t i = 3; i < 8; ++i) {
    EXPECT_EQ(series.min[i], s->frame(static_cast<int>(i))->logits->min);
  }
  series.update(*builder.restart().build());
  EXPECT_TRUE(series.entropy.empty());
}

TEST(ChartRows, MoreValuesThanCells_KeepSmallestAndLargest) {
  std::vector<float> values(5000);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = i % 37 == 0 ? HeatmapData::kHole : i % 41 == 0 ? kNan : std::sin(float(i) * 0.7F);
  }
  std::fill_n(values.begin() + 800, 8, kNan);
  std::fill_n(values.begin() + 1600, 8, HeatmapData::kHole);
  const std::array<const std::vector<float>*, 1> lines{&values};
  std::vector<float> rows;
  const ChartSource source = chart_rows(lines, rows);
  ASSERT_EQ(source.cells, 625);  // of 8
  ASSERT_TRUE(source.pooled && source.ranges);
  for (std::size_t cell = 0; cell < 625; ++cell) {
    std::vector<float> numbers;
    bool odd = false;
    for (std::size_t i = 8 * cell; i < std::min<std::size_t>(8 * cell + 8, 5000); ++i) {
      odd = odd || std::isnan(values[i]);
      if (std::isfinite(values[i]) && values[i] != HeatmapData::kHole) {
        numbers.push_back(values[i]);
      }
    }
    if (!numbers.empty()) {
      ASSERT_EQ(rows[cell], *std::min_element(numbers.begin(), numbers.end()));
      ASSERT_EQ(rows[625 + cell], *std::max_element(numbers.begin(), numbers.end()));
    } else if (odd) {
      ASSERT_TRUE(std::isnan(rows[cell]));
    } else {
      ASSERT_EQ(rows[cell], HeatmapData::kHole);
    }
  }
  const std::vector<float> few{1.0F, kNan, HeatmapData::kHole};
  const std::array<const std::vector<float>*, 1> short_line{&few};
  const ChartSource as_is = chart_rows(short_line, rows);
  EXPECT_EQ(as_is.cells, 3);
  EXPECT_FALSE(as_is.ranges);
}

TEST(HeadTable, Sorting_PutsNanFirstEitherWay) {
  Builder builder({2, 3, 1});
  builder.grow_to(2).change(1, [](capture::TokenFrame& f) { f.heads[4].entropy = kNan; });
  const auto s = builder.build();
  std::vector<HeadRow> rows = head_rows(s->frame(1));
  ASSERT_EQ(rows.size(), 6U);
  for (const bool descending : {false, true}) {
    sort_heads(rows, HeadColumn::kEntropy, descending);
    EXPECT_EQ(rows[0].layer * 3 + rows[0].head, 4);
    for (std::size_t i = 2; i < rows.size(); ++i) {
      const float a = rows[i - 1].stats.entropy;
      const float b = rows[i].stats.entropy;
      EXPECT_TRUE(descending ? a >= b : a <= b);
    }
  }
  EXPECT_TRUE(head_rows(nullptr).empty());
  capture::HeadStats stats;
  stats.row_sum = 1.000002F;
  EXPECT_FALSE(row_sum_off(stats, 100));
  stats.row_sum = 0.98F;
  EXPECT_TRUE(row_sum_off(stats, 100));
  stats.row_sum = kNan;
  EXPECT_TRUE(row_sum_off(stats, 100));
}

}  // namespace
}  // namespace layerscope::gui::view

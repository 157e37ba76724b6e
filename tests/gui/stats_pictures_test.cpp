// Statistics as pictures, on the host: cells against naive loops over the frames, with values that
// are no numbers and more tokens than columns; and what panels make of the frames where there is no
// picture: the same cells, so the same pixels.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "engine/backend/draw.h"
#include "gui/view/logits_view.h"
#include "gui/view/norms.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui {
namespace {

using backend::DrawGrid;
using backend::DrawnStats;
using backend::kDrawHole;
using backend::Statistic;
using backend::StatsLook;
using capture::Tap;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Every seventh frame has something odd: NaN or Inf counted, an infinite norm, zero, a tap that
/// was not captured, no statistics at all, an empty distribution.
void make_odd(sample::Builder& builder, int n) {
  for (int position = 3; position < n; position += 7) {
    builder.change(position, [position](capture::TokenFrame& f) {
      capture::TapStats& stats =
          f.taps[capture::kNumTaps + static_cast<std::size_t>(Tap::kResidOut)];
      switch (position / 7 % 6) {
        case 0:
          stats.non_finite = 2;
          break;
        case 1:
          stats.l2 = kInfinity;
          break;
        case 2:
          stats.l2 = 0.0F;
          break;
        case 3:
          stats = {};
          break;
        case 4:
          f.taps.clear();
          break;
        default:
          if (f.logits) {
            f.logits->top.clear();
            f.logits->entropy = std::nanf("");
            f.logits->min = -kInfinity;
          }
      }
    });
  }
}

struct Made {
  DrawnStats stats;
  std::vector<float> floats;
  [[nodiscard]] float cell(const DrawGrid& grid, int row, int column) const {
    return floats[grid.offset + static_cast<std::size_t>(row * grid.width + column)];
  }
};

Made make(const session::Snapshot& s, const StatsLook& look, int n_layers = 3) {
  Made made;
  made.stats = lay_out_stats(look, s.n_frames, n_layers, {}, 100);
  backend::DrawnFrame frame;
  frame.stats = made.stats;
  made.floats.assign(frame.floats(), 123.0F);
  draw_stats_on_host(
      made.stats, s.n_frames, [&s](int i) { return s.frame(i); }, made.floats.data());
  return made;
}

bool same(float a, float b) { return std::isnan(a) ? std::isnan(b) : a == b; }

TEST(StatsPicture, Map_EqualsNaiveForAnyNumberOfTokens) {
  sample::Builder builder({3, 2, 4});
  for (const int n : {1, 63, 64, 65, 2048, 2049, 4500}) {
    make_odd(builder.grow_to(n), n);
    const auto s = builder.build();
    for (const Statistic statistic : {Statistic::kL2, Statistic::kAbsmax}) {
      const Made made = make(*s, {Tap::kResidOut, statistic, false, false, -1});
      const DrawGrid& map = made.stats.map;
      ASSERT_EQ(map.height, 3);
      ASSERT_GE(map.width * made.stats.bin, n);
      ASSERT_LE(map.width, backend::kMostStatColumns);
      for (int layer = 0; layer < 3; ++layer) {
        for (int column = 0; column < map.width; ++column) {
          float naive = kDrawHole;
          bool odd = false;
          for (int p = column * made.stats.bin; p < std::min((column + 1) * made.stats.bin, n);
               ++p) {
            const capture::TokenFrame& f = *s->frame(p);
            if (f.taps.empty() || f.stats(layer, Tap::kResidOut).count == 0) {
              continue;
            }
            const capture::TapStats& t = f.stats(layer, Tap::kResidOut);
            odd = odd || t.non_finite > 0;
            naive = std::max(naive, statistic == Statistic::kL2 ? t.l2 : t.absmax);
          }
          const float got = made.cell(map, layer, column);
          ASSERT_TRUE(odd ? std::isnan(got) : got == naive)
              << n << " tokens, layer " << layer << ", column " << column << ": " << got;
        }
      }
    }
  }
}

TEST(StatsPicture, WithoutPicture_ThePanelsCellsAreTheSame) {
  sample::Builder builder({3, 2, 4});
  view::NormsMap map;
  view::LogitSeries series;
  std::vector<float> cells;
  for (const int n : {5, 64, 200, 90, 3000, 2100, 5000, 40}) {
    const int had = builder.build()->n_frames;
    make_odd(builder.cut_to(std::min(n, had)).grow_to(n), n);
    const auto s = builder.build();
    map.update(*s, {Tap::kResidOut, Statistic::kL2});
    series.update(*s);
    const Made made = make(*s, {Tap::kResidOut, Statistic::kL2, true, true, n / 2});
    const HeatmapData data = map.data();
    ASSERT_EQ(data.width, made.stats.map.width) << n;
    ASSERT_EQ(map.used(), made.stats.map.used_columns) << n;
    for (std::size_t i = 0; i < data.values.size(); ++i) {
      ASSERT_TRUE(same(data.values[i], made.floats[made.stats.map.offset + i])) << n << " " << i;
    }
    for (std::size_t line = 0; line < backend::kProfileTaps.size(); ++line) {
      const auto profile = view::norm_profile(s->frame(n / 2), backend::kProfileTaps[line]);
      for (int layer = 0; layer < 3; ++layer) {
        ASSERT_TRUE(same(profile[static_cast<std::size_t>(layer)],
                         made.cell(made.stats.profile, static_cast<int>(line), layer)));
      }
    }
    view::bar_cells(view::logit_bars(*s, n / 2, 32), cells);
    for (std::size_t i = 0; i < cells.size(); ++i) {
      ASSERT_TRUE(same(cells[i], made.floats[made.stats.bars.offset + i])) << n << " bar " << i;
    }
    const std::array lines{&series.entropy, &series.min, &series.mean, &series.max};
    const ChartSource source = view::chart_rows(lines, cells);
    ASSERT_EQ(source.cells, made.stats.series.width);
    ASSERT_EQ(source.pooled, made.stats.series_bin > 1);
    for (int row = 0; row < 2 * backend::kNumSeries; ++row) {
      const int from = source.ranges ? row : row / 2;
      for (int c = 0; c < source.cells; ++c) {
        ASSERT_TRUE(same(cells[static_cast<std::size_t>(from * source.cells + c)],
                         made.cell(made.stats.series, row, c)))
            << n << " row " << row << " cell " << c;
      }
    }
  }
}

TEST(StatsPicture, Bars_AreThoseOfTheTokenAndKnowTheNext) {
  sample::Builder builder({1, 1, 2});
  builder.grow_to(5);
  builder.change(3, [](capture::TokenFrame& f) {
    f.logits->top = {{9, 5.0F, 0.6F}, {7, 4.0F, 0.3F}, {11, 1.0F, 0.0F}};
  });
  builder.change(4, [](capture::TokenFrame& f) { f.id = 7; });
  const auto s = builder.build();
  const Made made = make(*s, {std::nullopt, Statistic::kL2, false, true, 3}, 1);
  const DrawGrid& bars = made.stats.bars;
  EXPECT_EQ(made.cell(bars, 0, 0), 1.0F);
  EXPECT_FLOAT_EQ(made.cell(bars, 0, 1), 0.5F);
  EXPECT_EQ(made.cell(bars, 0, 2), 0.0F);
  EXPECT_EQ(made.cell(bars, 0, 3), kDrawHole);
  EXPECT_EQ(made.cell(bars, 1, 0), 0.0F);
  EXPECT_EQ(made.cell(bars, 1, 1), 1.0F);
  // A prompt token without a distribution; the newest, which nothing follows.
  EXPECT_EQ(make(*s, {std::nullopt, Statistic::kL2, false, true, 0}, 1).cell(bars, 0, 0),
            kDrawHole);
  const Made newest = make(*s, {std::nullopt, Statistic::kL2, false, true, -1}, 1);
  EXPECT_EQ(newest.stats.look.position, 4);
  EXPECT_EQ(newest.cell(bars, 1, 0), 0.0F);
}

TEST(StatsPicture, Layout_LeavesOutWhatIsNotKnownOrNotThere) {
  const StatsLook look{Tap::kEmbedding, Statistic::kL2, true, true, -1};
  const DrawnStats all = lay_out_stats(look, 100, 24, {}, 7);
  EXPECT_EQ(all.map.height, 1) << "a model-wide tap has one row";
  EXPECT_EQ(all.map.offset % 64, 0U);
  EXPECT_GE(all.map.offset, 7U);
  EXPECT_GE(all.profile.offset, all.map.offset + all.map.floats());
  EXPECT_GE(all.bars.offset, all.profile.offset + all.profile.floats());
  EXPECT_GE(all.series.offset, all.bars.offset + all.bars.floats());
  const DrawnStats none = lay_out_stats(look, 100, 24, {false, false, false, false}, 0);
  EXPECT_TRUE(none.map.empty() && none.profile.empty() && none.bars.empty() && none.series.empty());
  StatsLook behind = look;
  behind.position = 100;
  EXPECT_TRUE(lay_out_stats(behind, 100, 24, {}, 0).profile.empty());
  EXPECT_TRUE(lay_out_stats(look, 0, 24, {}, 0).map.empty());
  EXPECT_FALSE(StatsLook{}.any());
}

}  // namespace
}  // namespace layerscope::gui

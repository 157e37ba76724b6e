// Thumbnails and attention maps against naive code that looks at every probability.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/server/window_protocol.h"
#include "gui/view/attention_map.h"
#include "gui/view/frames.h"
#include "gui/view/pooling.h"
#include "gui/view/thumbnails.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui::view {
namespace {

using sample::Builder;
constexpr float kHole = HeatmapData::kHole;

/// Naive cell: maximum over all (q, k) of the cell that have a captured probability.
float naive_cell(const session::Snapshot& s, int layer, int head, int bin, int row, int column) {
  float best = kHole;
  for (int q = row * bin; q < (row + 1) * bin; ++q) {
    for (int k = column * bin; k < (column + 1) * bin; ++k) {
      const auto* frame = s.frame(q);
      if (frame == nullptr || k > q || frame->attention == nullptr) {
        continue;
      }
      const auto keys = static_cast<std::size_t>(q + 1);
      const auto index = static_cast<std::size_t>(layer * frame->n_heads + head) * keys +
                         static_cast<std::size_t>(k);
      const float p = frame->attention->values()[index];
      if (std::isnan(p) || std::isnan(best)) {
        best = std::numeric_limits<float>::quiet_NaN();
      } else {
        best = best == kHole ? p : std::max(best, p);
      }
    }
  }
  return best;
}

void expect_thumbnails(const Thumbnails& t, const session::Snapshot& s) {
  for (int layer = 0; layer < t.n_layers(); ++layer) {
    for (int head = 0; head < t.n_heads(); ++head) {
      for (int r = 0; r < t.side(); ++r) {
        for (int c = 0; c < t.side(); ++c) {
          const float naive = naive_cell(s, layer, head, t.bin(), r, c);
          const float wanted = naive == kHole ? kHole : std::sqrt(naive);
          const float got = t.cell(layer, head, r, c);
          ASSERT_TRUE(got == wanted || (std::isnan(got) && std::isnan(wanted)))
              << "layer " << layer << " head " << head << " cell " << r << "," << c << ": " << got
              << " instead of " << wanted;
        }
      }
    }
  }
}

void expect_map(const AttentionMap& m, const session::Snapshot& s, int layer, int head) {
  for (int r = 0; r < m.side(); ++r) {
    for (int c = 0; c < m.side(); ++c) {
      ASSERT_EQ(m.cell(r, c), naive_cell(s, layer, head, m.bin(), r, c)) << r << "," << c;
    }
  }
}

TEST(Thumbnails, OneTokenAtATime_EqualsNaive) {
  Builder builder({2, 3, 4});
  Thumbnails thumbnails;
  for (int n = 1; n <= 70; ++n) {
    const auto s = builder.grow_to(n).build();
    ASSERT_TRUE(thumbnails.update(*s));
    ASSERT_EQ(thumbnails.bin(), n <= 64 ? 1 : 2);
    if (n % 7 == 0 || n > 62) {
      expect_thumbnails(thumbnails, *s);
    }
  }
}

TEST(Thumbnails, ManyTokensAtOnceInSlices_EqualsNaive) {
  Builder builder({1, 2, 4});
  const auto s = builder.grow_to(300).build();
  Thumbnails thumbnails;
  int slices = 1;
  while (!thumbnails.update(*s, 5000)) {
    ++slices;
  }
  EXPECT_GT(slices, 10);
  EXPECT_EQ(thumbnails.bin(), 8);
  EXPECT_EQ(thumbnails.used(), 38);
  expect_thumbnails(thumbnails, *s);
}

TEST(Thumbnails, Rewind_RebuildsFromTheChangedPosition) {
  Builder builder({2, 2, 4});
  Thumbnails thumbnails;
  thumbnails.update(*builder.grow_to(131).build());
  ASSERT_EQ(thumbnails.bin(), 4);
  for (const int keep : {130, 129, 101, 37, 5}) {
    const auto s = builder.cut_to(keep).grow_to(keep + 2).build();
    thumbnails.update(*s);
    expect_thumbnails(thumbnails, *s);
  }
  EXPECT_EQ(thumbnails.bin(), 1);
}

TEST(Thumbnails, UnchangedFrames_AreNotTakenInAgain) {
  Builder builder({1, 1, 2});
  Thumbnails thumbnails;
  thumbnails.update(*builder.grow_to(10).build());
  const float before = thumbnails.cell(0, 0, 9, 3);
  const std::uint64_t version = thumbnails.data().version;
  // The same serial: dropping the rows must not remove what was seen.
  const auto dropped = builder.drop_attention(9).build();
  thumbnails.update(*dropped);
  EXPECT_EQ(thumbnails.cell(0, 0, 9, 3), before);
  EXPECT_EQ(thumbnails.data().version, version);
}

TEST(Thumbnails, NewSessionOrModel_StartsAnew) {
  Builder builder({2, 2, 4});
  Thumbnails thumbnails;
  thumbnails.update(*builder.grow_to(80).build());
  const auto empty = builder.restart().build();
  thumbnails.update(*empty);
  EXPECT_EQ(thumbnails.n_tokens(), 0);
  const auto s = builder.grow_to(3).build();
  thumbnails.update(*s);
  expect_thumbnails(thumbnails, *s);
  Builder other({3, 5, 4});
  const auto o = other.restart().restart().grow_to(9).build();
  thumbnails.update(*o);
  EXPECT_EQ(thumbnails.n_heads(), 5);
  expect_thumbnails(thumbnails, *o);
}

TEST(Thumbnails, NanProbability_StaysVisibleWhenPooled) {
  Builder builder({1, 1, 4});
  builder.grow_to(130).change(100, [](capture::TokenFrame& frame) {
    const auto values = frame.attention->values();
    std::vector<float> copy(values.begin(), values.end());
    copy[50] = std::numeric_limits<float>::quiet_NaN();
    frame.attention = std::make_shared<capture::AttentionRows>(std::move(copy));
  });
  const auto s = builder.build();
  Thumbnails thumbnails;
  thumbnails.update(*s);
  EXPECT_TRUE(std::isnan(thumbnails.cell(0, 0, 25, 12)));
  expect_thumbnails(thumbnails, *s);
}

/// The frame's rows as a GPU gives them: pooled, the whole rows elsewhere.
void pool_frame(capture::TokenFrame& frame) {
  const int keys = frame.position + 1;
  capture::PooledRows pooled;
  pooled.bins = capture::pooled_bins(frame.n_layers, frame.n_heads);
  pooled.width = capture::pooled_width(keys, pooled.bins);
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    for (int head = 0; head < frame.n_heads; ++head) {
      const auto row = frame.attention_row(layer, head);
      for (int b = 0; b < pooled.bins; ++b) {
        float best = 0.0F;
        for (int k = b * pooled.width; k < std::min(keys, (b + 1) * pooled.width); ++k) {
          const float p = row[static_cast<std::size_t>(k)];
          best = std::isnan(p) || std::isnan(best) ? std::nanf("") : std::max(best, p);
        }
        pooled.cells.push_back(
            std::isnan(best) ? capture::PooledRows::kNotANumber
                             : static_cast<std::uint8_t>(std::lround(std::sqrt(best) * 254.0F)));
      }
    }
  }
  frame.attention = std::make_shared<capture::AttentionRows>(nullptr, std::move(pooled));
}

TEST(Thumbnails, PooledRows_GiveTheSameCellsAsWholeRows) {
  for (const int n : {1, 63, 64, 65, 200}) {
    Builder whole({2, 3, 4});
    whole.grow_to(n);
    const auto expected = whole.build();
    Builder small({2, 3, 4});
    small.grow_to(n);
    for (int p = 0; p < n; ++p) {
      small.change(p, pool_frame);
    }
    const auto s = small.build();
    Thumbnails a, b;
    a.update(*expected);
    b.update(*s);
    ASSERT_EQ(b.rows_missing(), 0);
    ASSERT_EQ(a.used(), b.used());
    for (int layer = 0; layer < 2; ++layer) {
      for (int head = 0; head < 3; ++head) {
        for (int r = 0; r < a.used(); ++r) {
          for (int c = 0; c <= r; ++c) {
            ASSERT_NEAR(a.cell(layer, head, r, c), b.cell(layer, head, r, c), 0.5F / 254.0F + 1e-6F)
                << n << " tokens, cell " << r << ", " << c;
          }
        }
      }
    }
    EXPECT_TRUE(attention_row(*s, n - 1, 0, 0).empty());
    EXPECT_FALSE(pooled_row(s->frame(n - 1), 1, 2).cells.empty());
    EXPECT_TRUE(pooled_row(s->frame(n - 1), 2, 0).cells.empty());
  }
}

TEST(Thumbnails, PooledNan_StaysVisible) {
  Builder builder({1, 1, 4});
  builder.grow_to(130).change(100, [](capture::TokenFrame& frame) {
    const auto values = frame.attention->values();
    std::vector<float> copy(values.begin(), values.end());
    copy[50] = std::nanf("");
    frame.attention = std::make_shared<capture::AttentionRows>(std::move(copy));
    pool_frame(frame);
  });
  Thumbnails thumbnails;
  thumbnails.update(*builder.build());
  EXPECT_TRUE(std::isnan(thumbnails.cell(0, 0, 25, 12)));
}

TEST(Thumbnails, ShortArraysOfAFaultyBackend_AreHoles) {
  Builder builder({2, 2, 4});
  builder.grow_to(5).change(4, [](capture::TokenFrame& frame) {
    frame.attention = std::make_shared<capture::AttentionRows>(std::vector<float>(7, 0.5F));
    frame.heads.clear();
    frame.taps.clear();
  });
  Thumbnails thumbnails;
  EXPECT_TRUE(thumbnails.update(*builder.build()));
  EXPECT_EQ(thumbnails.cell(1, 1, 4, 0), kHole);
}

TEST(AttentionMap, GrowingAndRewinding_EqualsNaive) {
  Builder builder({2, 3, 4});
  AttentionMap map;
  map.select(1, 2, MapValue::kProbability);
  for (const int n : {1, 2, 63, 64, 65, 130}) {
    const auto s = builder.grow_to(n).build();
    ASSERT_TRUE(map.update(*s));
    ASSERT_EQ(map.used(), n);
    expect_map(map, *s, 1, 2);
  }
  const auto cut = builder.cut_to(40).grow_to(44).build();
  map.update(*cut);
  expect_map(map, *cut, 1, 2);
  map.select(0, 1, MapValue::kProbability);
  map.update(*cut);
  expect_map(map, *cut, 0, 1);
}

TEST(AttentionMap, MoreTokensThanCells_AreMaxPooled) {
  Builder builder({1, 1, 4});
  const auto s = builder.grow_to(AttentionMap::kMaxSide + 40).build();
  AttentionMap map;
  map.select(0, 0, MapValue::kProbability);
  while (!map.update(*s, 100000)) {
  }
  EXPECT_EQ(map.bin(), 2);
  EXPECT_EQ(map.side(), AttentionMap::kMaxSide);
  expect_map(map, *s, 0, 0);
}

TEST(AttentionMap, Scores_AreLogProbabilityPlusLse) {
  Builder builder({1, 1, 4});
  const auto s = builder.grow_to(20).build();
  AttentionMap map;
  map.select(0, 0, MapValue::kScore);
  map.update(*s);
  const auto* frame = s->frame(13);
  EXPECT_FLOAT_EQ(map.cell(13, 5),
                  std::log(frame->attention->values()[5]) + frame->heads.front().lse);
  EXPECT_EQ(map.cell(5, 13), kHole);
  EXPECT_EQ(map_value(0.0F, 3.0F, MapValue::kScore), kHole);
}

TEST(AttentionMap, DroppedRows_AreAskedForOnceAndFilled) {
  Builder builder({1, 2, 4});
  builder.grow_to(12).drop_attention(3).drop_attention(7);
  auto s = builder.build();
  AttentionMap map;
  map.select(0, 1, MapValue::kProbability);
  map.update(*s);
  EXPECT_EQ(map.missing(), (std::vector<int>{3, 7}));
  EXPECT_EQ(map.cell(7, 2), kHole);
  EXPECT_TRUE(map.wants_request(*s));
  EXPECT_FALSE(map.wants_request(*s));
  auto filled = std::make_shared<session::HeadMap>();
  filled->layer = 0;
  filled->head = 1;
  filled->n_tokens = 12;
  filled->last_serial = s->frame(11)->serial;
  filled->probabilities.assign(144, 0.125F);
  s = builder.build();
  s->head_map = filled;
  map.update(*s);
  EXPECT_TRUE(map.missing().empty());
  EXPECT_EQ(map.cell(7, 2), 0.125F);
  EXPECT_EQ(map.cell(7, 8), kHole);
  EXPECT_FALSE(map.wants_request(*s));
}

TEST(AttentionMap, HeadMapOfAnotherHeadOrOlderEvaluation_IsNotUsed) {
  Builder builder({1, 2, 4});
  builder.grow_to(6).drop_attention(5);
  const auto s = builder.build();
  auto other = std::make_shared<session::HeadMap>();
  other->head = 0;
  other->n_tokens = 6;
  other->last_serial = 1000;
  other->probabilities.assign(36, 0.5F);
  s->head_map = other;
  EXPECT_TRUE(attention_row(*s, 5, 0, 1).empty());
  EXPECT_EQ(attention_row(*s, 5, 0, 0).size(), 6U);
  other->last_serial = s->frame(5)->serial - 1;
  EXPECT_TRUE(attention_row(*s, 5, 0, 0).empty());
}

TEST(AttentionMap, Range_IsFiniteAndOrderedWhateverTheData) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), 0.0F, std::numeric_limits<float>::infinity()}) {
    Builder builder({1, 1, 4});
    builder.grow_to(5);
    for (int p = 0; p < 5; ++p) {
      builder.change(p, [bad](capture::TokenFrame& frame) {
        frame.attention = std::make_shared<capture::AttentionRows>(
            std::vector<float>(frame.attention->values().size(), bad));
      });
    }
    const auto s = builder.build();
    for (const MapValue value : {MapValue::kProbability, MapValue::kScore}) {
      AttentionMap map;
      map.select(0, 0, value);
      map.update(*s);
      for (const bool log_scale : {false, true}) {
        const HeatmapData data = map.data(log_scale);
        EXPECT_TRUE(std::isfinite(data.lo) && std::isfinite(data.hi));
        EXPECT_LT(data.lo, data.hi);
      }
    }
  }
}

TEST(RowSums, Groups_KeepTheSumFarthestFromOne) {
  Builder builder({1, 1, 4});
  builder.grow_to(7).change(3, [](capture::TokenFrame& f) { f.heads[0].row_sum = 0.25F; });
  builder.change(5, [](capture::TokenFrame& f) { f.heads[0].row_sum = std::nanf(""); });
  const std::vector<float> sums = row_sums(*builder.build(), 0, 0, 2);
  ASSERT_EQ(sums.size(), 4U);
  EXPECT_EQ(sums[1], 0.25F);
  EXPECT_TRUE(std::isnan(sums[2]));
  EXPECT_NEAR(sums[3], 1.0F, 1e-5F);
}

TEST(RowSums, Remembered_AreTheSameAfterEveryChange) {
  Builder builder({2, 2, 4});
  RowSums remembered;
  const auto check = [&](int layer, int head) {
    const auto snapshot = builder.build();
    remembered.update(*snapshot, layer, head);
    for (const int bin : {1, 2, 8}) {
      const std::vector<float> once = row_sums(*snapshot, layer, head, bin);
      const std::vector<float> grouped = remembered.grouped(bin);
      ASSERT_EQ(grouped.size(), once.size());
      EXPECT_EQ(std::memcmp(grouped.data(), once.data(), once.size() * sizeof(float)), 0);
    }
  };
  builder.grow_to(20).change(7, [](capture::TokenFrame& f) { f.heads[1].row_sum = 0.5F; });
  check(0, 1);
  builder.grow_to(33);
  check(0, 1);
  check(1, 0);
  builder.cut_to(11).grow_to(15);
  builder.change(12, [](capture::TokenFrame& f) { f.heads.clear(); });
  check(1, 0);
}

}  // namespace
}  // namespace layerscope::gui::view

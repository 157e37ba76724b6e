// The Compare tab's drawings, from comparisons whose numbers are known.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gui/view/compare_view.h"

namespace layerscope::gui::view {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

compare::Comparison sample() {
  compare::Comparison c;
  c.tolerance = 1e-4;
  c.precision = "float32";
  compare::Pair q;
  q.tap = capture::Tap::kQ;
  q.layer = 1;
  q.name_a = "p0.l1.q";
  q.name_b = "Qcur-1";
  q.difference.rel_l2 = 2e-6;
  q.difference.excess = 0.02;
  c.pairs.push_back(q);
  compare::Pair out = q;
  out.tap = capture::Tap::kAttnOut;
  out.name_b = "kqv_out-1";
  out.difference.rel_l2 = 3e-4;
  out.difference.excess = 3.0;
  out.difference.position = 2;
  out.difference.channel = 17;
  out.difference.worst_channel = 17;
  out.difference.channel_error = 0.15;
  c.pairs.push_back(out);
  c.first = 1;
  c.blocks.push_back({0, 0.0, 1e-7, 1e-7, std::nullopt, {1e-7, kNan, 2e-7}});
  c.blocks.push_back({1, 1e-7, 3e-4, 3e-4, 2.5e-4, {0.0, 1e-4, 3e-4}});
  c.unmatched_a = {{"p0.x", "no tap of ours"}, {"p0.y", "no tap of ours"}};
  c.unmatched_b = {{"norm-0", "a norm before its weight"}};
  return c;
}

TEST(CompareView, ErrorMap_HasARowPerBlock_HolesWhereUnknown) {
  const ErrorMap map = error_map(sample());
  ASSERT_EQ(map.layers, 2);
  ASSERT_EQ(map.positions, 3);
  EXPECT_EQ(map.values[1], HeatmapData::kHole);
  EXPECT_FLOAT_EQ(map.values[5], 3e-4F);
  EXPECT_EQ(map.values[3], 0.0F) << "no error is not unknown";
  EXPECT_FLOAT_EQ(map.lo, 1e-7F);
  EXPECT_FLOAT_EQ(map.hi, 3e-4F);
  EXPECT_EQ(map.layer_of, (std::vector<int>{0, 1}));
  const HeatmapData data = map.data(7);
  EXPECT_EQ(data.width, 3);
  EXPECT_EQ(data.height, 2);
  EXPECT_TRUE(data.log_scale);
  EXPECT_GT(data.hi, data.lo);
  // Nothing compared: nothing to draw, and no range of zero.
  const ErrorMap none = error_map({});
  EXPECT_EQ(none.layers, 0);
  EXPECT_GT(none.data(1).hi, none.data(1).lo);
}

TEST(CompareView, BlockLines_SplitInheritedFromAdded) {
  const BlockLines lines = block_lines(sample());
  EXPECT_FLOAT_EQ(lines.inherited[1], 1e-7F);
  EXPECT_FLOAT_EQ(lines.added[1], 3e-4F);
  EXPECT_TRUE(std::isnan(lines.own[0]));
  EXPECT_FLOAT_EQ(lines.own[1], 2.5e-4F);
  EXPECT_TRUE(lines.any_own);
}

TEST(CompareView, PairRows_NameTheOutlierChannel) {
  const auto all = pair_rows(sample(), false, "");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].name, "layer 1 · q");
  EXPECT_FALSE(all[0].diverges);
  EXPECT_EQ(all[0].place, "");
  const auto bad = pair_rows(sample(), true, "");
  ASSERT_EQ(bad.size(), 1U);
  EXPECT_EQ(bad[0].index, 1U);
  EXPECT_EQ(bad[0].place, "channel 17 · position 2");
  EXPECT_EQ(bad[0].outlier, "channel 17: 15.0%");
  // Searched by our name and by the reference's.
  EXPECT_EQ(pair_rows(sample(), false, "attn_out").size(), 1U);
  EXPECT_EQ(pair_rows(sample(), false, "qcur").size(), 1U);
  EXPECT_TRUE(pair_rows(sample(), false, "no such").empty());
}

TEST(CompareView, UnmatchedLines_AreGroupedByReason) {
  const auto lines = unmatched_lines(sample());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0], "A · no tap of ours (2): p0.x; p0.y");
  EXPECT_EQ(lines[1], "B · a norm before its weight (1): norm-0");
}

TEST(CompareView, Explanations_SayNoneWhenNothingFits) {
  session::ComparisonResult r;
  EXPECT_TRUE(explanation_lines(r).empty());
  r.explained = true;
  r.tried = 40;
  ASSERT_EQ(explanation_lines(r).size(), 1U);
  EXPECT_NE(explanation_lines(r)[0].find("None of the 40"), std::string::npos);
  session::FaultScore score;
  score.faults = {"rope:off,3"};
  score.title = "RoPE not applied";
  score.agreement = 0.998;
  r.explanations.push_back(score);
  EXPECT_EQ(explanation_lines(r)[0],
            "RoPE not applied (rope:off,3) explains 99.8 % of the difference");
  EXPECT_TRUE(splice_lines(r).empty());
  r.bisected = true;
  r.bisection.tried.push_back({3, 0.5, false});
  r.bisection.layer = 3;
  const auto splices = splice_lines(r);
  ASSERT_EQ(splices.size(), 2U);
  EXPECT_EQ(splices[1], "Layer 3 is the last wrong one.");
}

}  // namespace
}  // namespace layerscope::gui::view

// The measures of a difference, and what mismatched traces are told.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/compare/difference.h"
#include "tests/engine/compare/compare_run.h"

namespace layerscope::testing {
namespace {

using compare::Difference;
using compare::TapValues;

TapValues rows(int width, std::vector<float> values, int first = 0) {
  TapValues v;
  v.width = width;
  v.n_rows = static_cast<int>(values.size()) / width;
  v.first_position = first;
  v.values = std::move(values);
  return v;
}

Difference differ(const TapValues& a, const TapValues& b, compare::DifferenceOptions o = {}) {
  return compare::difference(a, std::span(&b, 1), o);
}

TEST(Difference, Measures_AreThoseOfTheFormulas) {
  const Difference d = differ(rows(2, {3, 4, 1, 0}), rows(2, {3, 0, 1, 2}));
  EXPECT_EQ(d.n_compared, 4U);
  EXPECT_DOUBLE_EQ(d.max_abs, 4.0);
  EXPECT_DOUBLE_EQ(d.rel_l2, std::sqrt(20.0 / 14.0));
  EXPECT_DOUBLE_EQ(d.cosine, 10.0 / std::sqrt(26.0 * 14.0));
  EXPECT_TRUE(d.diverges());
  EXPECT_EQ(d.position, 0);
  EXPECT_EQ(d.channel, 1);
}

/// Catalogue no. 22: cosine .999 overall while one channel is 15 % off.
TEST(Difference, OneWrongChannel_IsNamedWhereTheCosineHidesIt) {
  std::vector<float> a;
  std::vector<float> b;
  for (int t = 0; t < 4; ++t) {
    for (int c = 0; c < 512; ++c) {
      b.push_back(std::sin(static_cast<float>(t * 512 + c)));
      a.push_back(c == 77 ? b.back() * 1.15F : b.back());
    }
  }
  const Difference d = differ(rows(512, a), rows(512, b));
  EXPECT_GT(d.cosine, 0.9999);
  EXPECT_TRUE(d.diverges());
  EXPECT_EQ(d.channel, 77);
  EXPECT_EQ(d.worst_channel, 77);
  EXPECT_NEAR(d.channel_error, 0.15, 1e-5);
}

TEST(Difference, OnlyCommonPositions_AreCompared) {
  const Difference d = differ(rows(1, {1, 2, 3, 4}, 0), rows(1, {3, 9}, 2));
  EXPECT_EQ(d.n_compared, 2U);
  EXPECT_EQ(d.position, 3);
}

TEST(Difference, NonFinite_DivergesUnlessBothAre) {
  EXPECT_FALSE(differ(rows(2, {NAN, 1}), rows(2, {NAN, 1})).diverges());
  EXPECT_TRUE(differ(rows(2, {NAN, 1}), rows(2, {2, 1})).diverges());
  EXPECT_TRUE(differ(rows(2, {INFINITY, 1}), rows(2, {2, 1})).diverges());
  EXPECT_FALSE(differ(rows(2, {-INFINITY, 1}), rows(2, {-INFINITY, 1})).diverges());
}

TEST(Difference, CentredLogits_IgnoreAConstant) {
  compare::DifferenceOptions o;
  o.centre = true;
  EXPECT_FALSE(differ(rows(3, {11, 12, 13}), rows(3, {1, 2, 3}), o).diverges());
  EXPECT_TRUE(differ(rows(3, {11, 12, 13}), rows(3, {1, 2, 3})).diverges());
}

TEST(Difference, PrintedDigits_AreAllowedFor) {
  TapValues printed = rows(2, {0.3333F, 0.6667F});
  const TapValues exact = rows(2, {1.0F / 3.0F, 2.0F / 3.0F});
  compare::DifferenceOptions o;
  o.tolerance = 1e-6;
  EXPECT_TRUE(differ(exact, printed, o).diverges());
  printed.printed = 5e-5;
  EXPECT_FALSE(differ(exact, printed, o).diverges());
}

TEST(Difference, PaddedKeys_MustWeighNothing) {
  TapValues a;
  a.attention = true;
  a.n_rows = 1;
  a.width = 2;
  a.values = {0.25F, 0.75F};
  TapValues padded = a;
  padded.width = 4;
  padded.values = {0.25F, 0.75F, 0.0F, 0.0F};
  compare::DifferenceOptions o;
  o.weights = true;
  EXPECT_FALSE(differ(a, padded, o).diverges());
  padded.values[3] = 0.1F;
  EXPECT_TRUE(differ(a, padded, o).diverges());
}

TEST(Compare, OtherTokens_AreSaidFirst) {
  const auto model = load(golden("qwen2", "model.gguf"));
  auto ids = short_ids("qwen2");
  const auto a = own_trace(model, ids).value();
  ids[4] = ids[4] + 1;
  const compare::Comparison c = compared(own_trace(model, ids).value(), a);
  ASSERT_TRUE(c.tokens.has_value());
  EXPECT_EQ(c.tokens->position, 4);
  EXPECT_TRUE(c.diverges());
  EXPECT_TRUE(c.pairs.empty());
}

TEST(Compare, OtherModel_IsRefused) {
  const auto a = own_trace(load(golden("qwen2", "model.gguf")), short_ids("qwen2")).value();
  const auto b = own_trace(load(golden("qwen2-q8_0", "model.gguf")), short_ids("qwen2")).value();
  const auto c = compare::compare_traces(a, b);
  ASSERT_FALSE(c.ok());
  EXPECT_EQ(c.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(c.error().message.find("different models"), std::string::npos);
}

/// Decoded tokens against one prefill of the same tokens: pairs go by position, not by pass.
TEST(Compare, OtherPasses_ArePairedByPosition) {
  const auto model = load(golden("llama", "model.gguf"));
  const auto ids = short_ids("llama");
  const auto whole = own_trace(model, ids).value();
  const auto stepped = own_trace(model, ids, 4).value();
  EXPECT_EQ(first_place(compared(stepped, whole)), "none");
  EXPECT_EQ(first_place(compared(whole, stepped)), "none");
  EXPECT_EQ(compared(stepped, whole).pairs.size(), 5U * (3U * 17U + 1U) + 2U);
}

}  // namespace
}  // namespace layerscope::testing

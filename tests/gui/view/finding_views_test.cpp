// Findings and faults as the window shows them: rows, badges, evidence, texts before and after.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/diagnose/report.h"
#include "gui/view/fault_view.h"
#include "gui/view/finding_view.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui::view {
namespace {

using diagnose::Finding;
using diagnose::Severity;
using sample::Builder;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Finding finding(Severity severity, const char* cause, int layer = -1, int head = -1,
                int position = -1) {
  Finding f;
  f.check = "projection";
  f.cause = cause;
  f.severity = severity;
  f.layer = layer;
  f.head = head;
  f.position = position;
  f.message = "q is 3 where the file gives 1";
  f.advice = "do not transpose";
  f.value = 2.0;
  f.threshold = 1e-4;
  return f;
}

TEST(FindingRows, Order_IsMostSevereFirstAndStable) {
  const std::vector<Finding> findings{finding(Severity::kInfo, "a"), finding(Severity::kError, "b"),
                                      finding(Severity::kWarning, "c"),
                                      finding(Severity::kError, "d")};
  const auto rows = finding_rows(findings);
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0].cause, "B");
  EXPECT_EQ(rows[1].cause, "D");
  EXPECT_EQ(rows[2].cause, "C");
  EXPECT_EQ(rows[3].cause, "A");
  EXPECT_EQ(finding_order(findings), (std::vector<std::size_t>{1, 3, 2, 0}));
  EXPECT_EQ(tally_text(findings), "2 errors · 1 warning · 1 note");
  EXPECT_EQ(tally_text({}), "");
}

TEST(FindingRows, Words_AreReadable) {
  EXPECT_EQ(cause_text("transposed-weight"), "Transposed weight");
  EXPECT_EQ(cause_text("rope-wrong"), "RoPE wrong");
  EXPECT_EQ(cause_text("kv-off-by-one"), "KV off by one");
  EXPECT_EQ(cause_text("non-finite"), "Non-finite");
  EXPECT_EQ(cause_text("bos-missing"), "BOS missing");
  EXPECT_EQ(cause_text("softmax-uniform"), "Soft-max uniform");
  EXPECT_EQ(cause_text(""), "Unknown");
  EXPECT_EQ(cause_text("-"), "Unknown");
  Finding f = finding(Severity::kError, "x", 3, 2, 5);
  f.tensor = "blk.3.attn_q.weight";
  EXPECT_EQ(where_text(f), "layer 3 · head 2 · position 5 · blk.3.attn_q.weight");
  EXPECT_EQ(where_text(finding(Severity::kError, "x")), "whole model");
}

TEST(FindingRows, Values_WithoutMeaningOrFiniteness_AreSaidSo) {
  Finding f = finding(Severity::kError, "x");
  f.value = std::nan("");
  f.threshold = 0.0;
  EXPECT_EQ(finding_rows({f})[0].value, "nan");
  EXPECT_EQ(finding_rows({f})[0].expected, "finite");
  f.value = 0.0;
  EXPECT_EQ(finding_rows({f})[0].value, "—");
  EXPECT_EQ(finding_rows({f})[0].expected, "—");
  f.threshold = 0.5;
  EXPECT_EQ(finding_rows({f})[0].expected, "0.5000");
  f.message = "broken \xE2\x82 bytes";
  EXPECT_EQ(finding_rows({f})[0].what, "broken \xEF\xBF\xBD\xEF\xBF\xBD bytes");
}

TEST(FindingPlaces, Words_OfTheRealReport_AreRead) {
  diagnose::Report report;
  for (const int layer : {1, 4, 6}) {
    for (const int head : {0, 3}) {
      report.add(finding(Severity::kError, "rope-wrong", layer, head, layer + head));
    }
  }
  const auto grouped = report.grouped();
  ASSERT_EQ(grouped.size(), 1U);
  const Places places = places_of(grouped[0]);
  EXPECT_EQ(places.layers, (std::vector<int>{1, 4, 6}));
  EXPECT_EQ(places.heads, (std::vector<int>{0, 3}));
  EXPECT_EQ(places.positions, (std::vector<int>{1, 4, 6, 7, 9}));
}

TEST(FindingPlaces, LongAndForeignWords_GiveWhatTheyCan) {
  Finding f = finding(Severity::kError, "x", 2);
  f.related = {"also in layers 3, 4 and 17 more",
               "also in blk.3.attn_q.weight",
               "also at position 9",
               "seen in heads ",
               "also in layer 99999999999999999999",
               "explains x (layer 7)"};
  const Places places = places_of(f);
  EXPECT_EQ(places.layers, (std::vector<int>{2, 3, 4}));
  EXPECT_EQ(places.positions, (std::vector<int>{9}));
  EXPECT_TRUE(places.heads.empty());
}

TEST(FindingBadges, Places_KeepTheWorst) {
  Builder builder({4, 4, 4});
  auto s = builder.grow_to(6).build();
  s->findings = {finding(Severity::kWarning, "a", 1, 2, 3), finding(Severity::kError, "b", 1, 2),
                 finding(Severity::kInfo, "c", 1), finding(Severity::kError, "d")};
  s->findings[1].evidence.head = 3;
  s->findings_serial = 1;
  FindingBadges badges;
  EXPECT_TRUE(badges.update(*s));
  EXPECT_FALSE(badges.update(*s));
  ASSERT_NE(badges.head(1, 2), nullptr);
  EXPECT_EQ(badges.head(1, 2)->severity, Severity::kError);
  EXPECT_EQ(badges.head(1, 2)->finding, 1U);
  EXPECT_EQ(badges.head(1, 2)->count, 2);
  EXPECT_EQ(badges.head(1, 3), nullptr) << "the finding's own head wins over the evidence's";
  EXPECT_EQ(badges.head(2, 2), nullptr);
  EXPECT_EQ(badges.layer(1)->count, 3);
  EXPECT_EQ(badges.layer(0), nullptr);
  EXPECT_EQ(badges.token(3)->severity, Severity::kWarning);
  EXPECT_EQ(badges.token(2), nullptr);
  EXPECT_EQ(badge_text(*badges.token(3), s->findings),
            "Warning: A — q is 3 where the file gives 1");
  EXPECT_EQ(badge_text({Severity::kError, 99, 1}, s->findings), "");
  s->findings.clear();
  ++s->findings_serial;
  EXPECT_TRUE(badges.update(*s));
  EXPECT_TRUE(badges.empty());
}

TEST(FindingTarget, Evidence_IsMoreExactThanTheFinding) {
  Finding f = finding(Severity::kError, "x", 1, -1, 4);
  EXPECT_EQ(target_of(f).layer, 1);
  EXPECT_EQ(target_of(f).head, -1);
  f.evidence.head = 3;
  f.evidence.position = 7;
  f.evidence.key = 2;
  EXPECT_EQ(target_of(f).head, 3);
  EXPECT_EQ(target_of(f).position, 7);
  EXPECT_EQ(target_of(f).key, 2);
}

TEST(Evidence, Values_StandBesideWhatIsExpected) {
  Finding f = finding(Severity::kError, "x");
  f.evidence = {"q", 1, -1, 5, -1, 11, 10, {0.5F, -3.0F, kNan}, {0.5F, 1.0F, 2.0F}};
  const EvidenceView view = evidence_view(f);
  EXPECT_EQ(view.title, "q · layer 1 · position 5 · channel 11");
  ASSERT_EQ(view.lines.size(), 3U);
  EXPECT_EQ(view.lines[0].index, 10);
  EXPECT_FALSE(view.lines[0].off);
  EXPECT_TRUE(view.lines[1].off);
  EXPECT_TRUE(view.lines[1].worst);
  EXPECT_TRUE(view.lines[2].off);
  EXPECT_EQ(view.rows, 2);
  EXPECT_EQ(view.cells.size(), 6U);
  EXPECT_EQ(view.hi, 3.0F);
  EXPECT_EQ(view.lo, -3.0F);
}

TEST(Evidence, Statistics_AreThoseOfTheValues) {
  Finding f = finding(Severity::kError, "x");
  f.evidence = {"q", 1, -1, 5, -1, 11, 10, {1.0F, 3.0F, 5.0F}, {1.0F, 2.0F, 3.0F}};
  EvidenceStats stats = evidence_stats(evidence_view(f));
  EXPECT_EQ(stats.n, 3);
  EXPECT_EQ(stats.off, 2);
  EXPECT_TRUE(stats.compared);
  EXPECT_DOUBLE_EQ(stats.mean, 3.0);
  EXPECT_NEAR(stats.deviation, std::sqrt(8.0 / 3.0), 1e-12);
  EXPECT_DOUBLE_EQ(stats.min, 1.0);
  EXPECT_DOUBLE_EQ(stats.max, 5.0);
  EXPECT_DOUBLE_EQ(stats.expected_mean, 2.0);
  EXPECT_DOUBLE_EQ(stats.max_abs, 2.0);
  EXPECT_NEAR(stats.rel_l2, std::sqrt(5.0 / 14.0), 1e-12);
  EXPECT_NEAR(stats.cosine, 22.0 / std::sqrt(35.0 * 14.0), 1e-12);
  // A value that is no number is counted, and does not make the others so.
  f.evidence.captured[1] = kNan;
  stats = evidence_stats(evidence_view(f));
  EXPECT_EQ(stats.non_finite, 1);
  EXPECT_DOUBLE_EQ(stats.mean, 3.0);
  f.evidence.captured = {kNan};
  f.evidence.expected = {};
  stats = evidence_stats(evidence_view(f));
  EXPECT_EQ(stats.non_finite, 1);
  EXPECT_EQ(stats.mean, 0.0);
}

TEST(FindingRows, Distance_IsBounded_AnExpectedValueIsNot) {
  Finding f = finding(Severity::kError, "x");
  f.evidence = {"q", 1, -1, 5, -1, 11, 10, {0.5F, 3.0F}, {0.5F, 1.0F}};
  EXPECT_EQ(finding_row(f).expected, "≤ 0.0001");
  f.value = 3.0;
  f.threshold = 1.0;
  EXPECT_EQ(finding_row(f).expected, "1.000");
}

TEST(Evidence, MissingOrShortExpectations_LeaveOneRow) {
  Finding f = finding(Severity::kError, "x");
  EXPECT_EQ(evidence_view(f).rows, 0);
  f.evidence.captured = {1.0F, 2.0F};
  f.evidence.expected = {1.0F};
  EXPECT_EQ(evidence_view(f).rows, 1);
  EXPECT_FALSE(evidence_view(f).lines[0].has_expected);
  f.evidence.captured = {kNan};
  EXPECT_GT(evidence_view(f).hi, 0.0F) << "a range exists even without finite values";
}

TEST(FindingsText, EverythingIsTold) {
  auto s = Builder({2, 2, 2}).grow_to(3).build();
  s->checks_run = 12;
  EXPECT_EQ(findings_text(*s),
            "sample: no anomaly found\n12 checks ran, deep checks not run on these tokens\n");
  s->findings = {finding(Severity::kError, "transposed-weight", 1)};
  s->findings[0].related = {"also in layer 2"};
  s->diagnosed = true;
  EXPECT_EQ(findings_text(*s),
            "sample: 1 error\n12 checks ran, deep checks included\n\n"
            "Error: Transposed weight (layer 1)\n  q is 3 where the file gives 1\n"
            "  value 2.000, expected 0.0001\n  what to do: do not transpose\n  also in layer 2\n");
}

TEST(HealthyText, Faults_DoNotReplaceIt) {
  Builder builder({2, 2, 4});
  HealthyText healthy;
  auto s = builder.grow_to(8).build();
  EXPECT_FALSE(healthy.comparable(*s));
  healthy.update(*s);
  EXPECT_EQ(healthy.ids().size(), 4U);
  EXPECT_TRUE(healthy.comparable(*s));
  const auto kept = healthy.ids();
  auto broken = builder.grow_to(12).build();
  broken->faults = {"rope:off"};
  healthy.update(*broken);
  EXPECT_EQ(healthy.ids(), kept);
  EXPECT_TRUE(healthy.comparable(*broken));
}

TEST(HealthyText, RewindKeepsTheLongerText_AnotherPromptReplacesIt) {
  Builder builder({2, 2, 4});
  HealthyText healthy;
  healthy.update(*builder.grow_to(10).build());
  healthy.update(*builder.cut_to(6).build());
  EXPECT_EQ(healthy.ids().size(), 6U) << "the same beginning is no other text";
  auto other = builder.build();
  other->prompt = "Another";
  EXPECT_FALSE(healthy.comparable(*other));
  healthy.update(*other);
  EXPECT_EQ(healthy.ids().size(), 2U);
  auto sampled = builder.build();
  sampled->prompt = "Another";
  sampled->sampler.seed = 9;
  EXPECT_FALSE(healthy.comparable(*sampled));
}

TEST(TextDiff, FirstDifference_IsFound) {
  const auto tokenizer = sample::tokenizer();
  const std::vector<std::int32_t> before{4, 5, 6};
  const std::vector<std::int32_t> after{4, 11, 6};
  const TextDiff diff = diff_text(tokenizer.get(), before, after);
  EXPECT_EQ(diff.first, 1);
  EXPECT_EQ(diff.same, " the");
  EXPECT_EQ(diff.before_token, " forty");
  EXPECT_EQ(diff.after_token, ".");
  EXPECT_EQ(diff.before_rest, "-six");
  EXPECT_EQ(diff.after_rest, "-six");
}

TEST(TextDiff, PrefixesAndEmptyTexts_DoNotDiffer) {
  const auto tokenizer = sample::tokenizer();
  const std::vector<std::int32_t> before{4, 5, 7};
  const TextDiff shorter = diff_text(tokenizer.get(), before, std::span(before).first(1));
  EXPECT_EQ(shorter.first, -1);
  EXPECT_EQ(shorter.same, " the");
  EXPECT_EQ(shorter.before_rest, " forty\xEF\xBF\xBD\xEF\xBF\xBD") << "broken bytes are replaced";
  EXPECT_EQ(shorter.after_rest, "");
  EXPECT_EQ(diff_text(tokenizer.get(), {}, before).first, -1);
  EXPECT_EQ(diff_text(nullptr, before, before).first, -1);
}

TEST(FaultList, Search_PutsPossibleOnesFirst) {
  std::vector<session::FaultInfo> faults(3);
  faults[0] = {"nibble-swap", "", "Nibbles swapped", "packed halves", "", "no such type"};
  faults[1] = {"rope:off", "", "RoPE not applied", "no positions", "rope:off", ""};
  faults[2] = {"transpose", "", "Weight transposed", "rows as columns", "transpose:w", ""};
  EXPECT_EQ(matching_faults(faults, ""), (std::vector<std::size_t>{1, 2, 0}));
  EXPECT_EQ(matching_faults(faults, "ROPE"), (std::vector<std::size_t>{1}));
  EXPECT_EQ(matching_faults(faults, "columns"), (std::vector<std::size_t>{2}));
  EXPECT_TRUE(matching_faults(faults, "zzz").empty());
  EXPECT_EQ(fault_title(faults, "rope:off,3"), "RoPE not applied · rope:off,3");
  EXPECT_EQ(fault_title(faults, "transpose:blk.0"), "Weight transposed · transpose:blk.0");
  EXPECT_EQ(fault_title(faults, "transposed"), "transposed");
  EXPECT_EQ(fault_count_text(0), "Faults");
  EXPECT_EQ(fault_count_text(2), "Faults · 2 active");
}

}  // namespace
}  // namespace layerscope::gui::view

// The detection matrix: every fault on the demo model and on the goldens; each must be named with
// its cause and its place. The table is printed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/engine/diagnose/matrix.h"

namespace layerscope::testing {
namespace {

using diagnose::Severity;

TEST(DetectionMatrix, EveryFault_IsNamedWithCauseAndPlace) {
  const auto models = matrix_models();
  std::vector<std::shared_ptr<const model::Model>> loaded;
  std::string header = fmt::format("{:32} {:22}", "fault", "cause");
  for (const MatrixModel& model : models) {
    loaded.push_back(load(model.path));
    header += fmt::format(" {:>17}", model.name);
  }
  fmt::print("{}\n", header);
  for (const Expectation& want : expectations()) {
    std::string line = fmt::format("{:32} {:22}", want.fault, want.cause);
    for (std::size_t i = 0; i < models.size(); ++i) {
      const std::string result = verdict(loaded[i], models[i], want, "cpu");
      line += fmt::format(" {:>17}", result);
      EXPECT_TRUE(result == "ok" || result == "n/a")
          << want.fault << " on " << models[i].name << ": " << result;
    }
    fmt::print("{}\n", line);
  }
}

/// Every fault of the registry has a row, and every row names a fault.
TEST(DetectionMatrix, Rows_CoverTheRegistry) {
  std::set<std::string> rows;
  for (const Expectation& want : expectations()) {
    const std::string text = want.fault;
    for (const diagnose::Fault& fault : diagnose::faults()) {
      const std::string name = fault.name;
      if (text.starts_with(name) &&
          (text.size() == name.size() || text[name.size()] == ',' || text[name.size()] == ':')) {
        rows.insert(name);
      }
    }
  }
  for (const diagnose::Fault& fault : diagnose::faults()) {
    EXPECT_TRUE(rows.contains(fault.name)) << fault.name;
  }
}

/// The failures that a young engine really had, one after the other: each is named within the first
/// five tokens.
TEST(FoundingStory, EachBug_IsNamedWithinFiveTokens) {
  const auto model = load(demo_model());
  const std::pair<const char*, const char*> story[] = {
      {"transpose:attn_q.weight", "transposed-weight"},
      {"kv:stuck", "kv-cursor-stuck"},
      {"drop-bias", "bias-dropped"},
      {"head:padded", "padding-scanned"},
      {"softmax:unnormalised", "softmax-unnormalised"},
      {"norm:corrupt-output", "norm-weights-corrupt"},
  };
  RunRequest request;
  request.prompt = chat_text(*model, "Write a haiku about GPU computing. Use the word forty-six.");
  request.tokens = 5;
  const RunResult healthy = diagnosed_run(model, request);
  EXPECT_TRUE(healthy.findings.empty());
  for (const auto& [fault, cause] : story) {
    request.faults = {fault};
    const RunResult run = diagnosed_run(model, request);
    ASSERT_TRUE(run.status.ok()) << fault;
    ASSERT_FALSE(run.findings.empty()) << fault;
    EXPECT_EQ(run.findings.front().cause, cause);
    EXPECT_EQ(run.findings.front().severity, Severity::kError);
    EXPECT_FALSE(run.findings.front().advice.empty());
    EXPECT_EQ(run.findings.size(), 1U) << fault;
    EXPECT_NE(run.ids, healthy.ids) << fault << " should change the text";
  }
}

}  // namespace
}  // namespace layerscope::testing

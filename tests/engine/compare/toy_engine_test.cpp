// A foreign engine with three bugs, dumped with the one-header library and diagnosed without a
// second engine: each bug is named, fixed, and the next one is named.
#include <gtest/gtest.h>

#include <cstdio>

#include "engine/session/foreign_diagnosis.h"
#include "tests/engine/compare/compare_run.h"
#include "tests/engine/compare/toy_engine.h"
#include "tests/engine/format/temp_file.h"

namespace layerscope::testing {
namespace {

/// The toy engine's trace of a prompt and two decoded tokens.
std::string dumped(const std::shared_ptr<const model::Model>& model, ToyBugs bugs,
                   const std::string& path) {
  std::vector<std::int32_t> ids = short_ids("qwen2");
  ToyEngine engine(model->file, bugs);
  Dump dump(path);
  engine.forward({ids.begin(), ids.end() - 2}, dump);
  engine.forward({ids[ids.size() - 2]}, dump);
  engine.forward({ids.back()}, dump);
  EXPECT_TRUE(dump.save()) << dump.error();
  return path;
}

session::ForeignReport diagnosed(const std::shared_ptr<const model::Model>& model, ToyBugs bugs) {
  const TempFile folder("", "unused");
  const compare::Trace trace = imported(dumped(model, bugs, folder.folder() + "/toy.safetensors"));
  auto report = session::diagnose_trace(model, trace);
  EXPECT_TRUE(report.ok()) << report.error().message;
  return report.ok() ? std::move(report).value() : session::ForeignReport{};
}

TEST(ToyEngine, WithoutBugs_IsHealthyAndAgreesWithOurs) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const session::ForeignReport report = diagnosed(model, {});
  EXPECT_TRUE(report.findings.empty()) << report.findings.front().message;
  EXPECT_GT(report.operations, 150);
  const TempFile folder("", "unused");
  const compare::Trace toy = imported(dumped(model, {}, folder.folder() + "/toy.safetensors"));
  const auto ours = own_trace(model, short_ids("qwen2"), 2);
  ASSERT_TRUE(ours.ok()) << ours.error().message;
  const compare::Comparison c = compared(toy, ours.value());
  EXPECT_EQ(first_place(c), "none");
  EXPECT_EQ(c.pairs.size(), 3U * (3U * 17U + 3U));
}

TEST(ToyEngine, ThreeBugs_AreNamedOneAfterAnother) {
  const auto model = load(golden("qwen2", "model.gguf"));
  ToyBugs bugs{true, true, true};
  session::ForeignReport report = diagnosed(model, bugs);
  ASSERT_EQ(report.findings.size(), 3U) << "all three are visible at once";
  const auto named = [&](const char* cause, int layer, const char* tensor) {
    ASSERT_FALSE(report.findings.empty());
    const diagnose::Finding& f = report.findings.front();
    std::printf("named: %s, layer %d, %s: %s\n", f.cause.c_str(), f.layer, f.tensor.c_str(),
                f.message.c_str());
    EXPECT_EQ(f.cause, cause);
    EXPECT_EQ(f.layer, layer);
    EXPECT_EQ(f.tensor, tensor);
    EXPECT_EQ(f.severity, diagnose::Severity::kError);
  };
  named("bias-dropped", 0, "blk.0.attn_k.bias");
  bugs.bias_dropped = false;
  report = diagnosed(model, bugs);
  named("gqa-modulo", 0, "");
  bugs.heads_by_modulo = false;
  report = diagnosed(model, bugs);
  named("transposed-weight", 1, "blk.1.attn_output.weight");
  bugs.output_transposed = false;
  EXPECT_TRUE(diagnosed(model, bugs).findings.empty());
}

TEST(ToyEngine, AnotherModel_IsRefusedWithASentence) {
  const auto qwen2 = load(golden("qwen2", "model.gguf"));
  const auto other = load(golden("qwen2-q8_0", "model.gguf"));
  const TempFile folder("", "unused");
  const compare::Trace toy = imported(dumped(qwen2, {}, folder.folder() + "/toy.safetensors"));
  const auto report = session::diagnose_trace(other, toy);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(report.error().message.find("is it this model's trace?"), std::string::npos);
}

TEST(Dump, FolderThatDoesNotExist_IsAnError) {
  Dump dump("/nonexistent-folder/x.safetensors");
  const std::int32_t id = 1;
  dump.begin_pass(&id, 1);
  const float value = 1.0F;
  dump.put("embedding", -1, &value, {1, 1});
  EXPECT_FALSE(dump.save());
  EXPECT_FALSE(dump.error().empty());
}

}  // namespace
}  // namespace layerscope::testing

// Trace files: written while the run goes on, read back bit for bit, refused when cut short.
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/compare/trace_meta.h"
#include "engine/compare/trace_writer.h"
#include "engine/session/trace_recorder.h"
#include "tests/engine/compare/compare_run.h"
#include "tests/engine/format/temp_file.h"

namespace layerscope::testing {
namespace {

std::size_t files_in(const std::string& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder),
                                                std::filesystem::directory_iterator()));
}

/// Records a prompt and some tokens; gives the path and what the generator captured.
struct Recorded {
  std::string path;
  std::vector<capture::FullTensor> tensors;  ///< of the first pass
  std::vector<std::int32_t> ids;
};

Recorded record(const TempFile& folder, capture::Tier tier) {
  Recorded r;
  r.path = folder.folder() + "/run.safetensors";
  auto generator = make_generator(load(golden("llama", "model.gguf")), 64, 1);
  generator.capture.tier = tier;
  auto recorder = session::TraceRecorder::start(generator, r.path, 1);
  EXPECT_TRUE(recorder.ok()) << recorder.error().message;
  const auto forward = generator.on_pass;
  generator.on_pass = [&](const capture::PassCapture& captured, std::span<const float> logits) {
    if (r.tensors.empty()) {
      r.tensors = captured.tensors;
    }
    forward(captured, logits);
  };
  EXPECT_TRUE(generator.evaluate(short_ids("llama"), false, {}).ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(generator.append(generator.choose().value(), capture::Origin::kSampled, {}).ok());
  }
  r.ids = generator.ids();
  EXPECT_FALSE(std::filesystem::exists(r.path)) << "not under its name before it is whole";
  const Status status = recorder.value()->finish(short_ids("llama").size(), {"rope:off"});
  EXPECT_TRUE(status.ok()) << status.error().message;
  return r;
}

TEST(TraceFile, FullTier_HoldsWhatWasCapturedBitForBit) {
  const TempFile folder("", "unused");
  const Recorded r = record(folder, capture::Tier::kFull);
  const compare::Trace trace = imported(r.path);
  EXPECT_EQ(trace.format, "Layerscope trace");
  EXPECT_EQ(trace.ids, r.ids);
  EXPECT_EQ(trace.n_prompt, short_ids("llama").size());
  EXPECT_EQ(trace.passes.size(), 4U);
  EXPECT_EQ(trace.passes[3].first_position, static_cast<int>(r.ids.size()) - 1);
  EXPECT_EQ(trace.model.architecture, "llama");
  EXPECT_EQ(trace.model.metadata_sha256.size(), 64U);
  EXPECT_EQ(trace.model.n_kv_heads, 2);
  EXPECT_EQ(trace.capture, "full");
  EXPECT_EQ(trace.backend, "cpu");
  EXPECT_EQ(trace.faults, (std::vector<std::string>{"rope:off"}));
  ASSERT_GT(r.tensors.size(), 50U);
  for (std::size_t i = 0; i < r.tensors.size(); ++i) {
    EXPECT_EQ(trace.tensors[i].shape, r.tensors[i].shape) << trace.tensors[i].name;
    const std::vector<float> values = compare::known_values(trace.tensors[i]).value();
    ASSERT_EQ(values.size(), r.tensors[i].values.size());
    EXPECT_EQ(std::memcmp(values.data(), r.tensors[i].values.data(), values.size() * 4), 0)
        << trace.tensors[i].name;
  }
}

TEST(TraceFile, CheaperTiers_HoldRowsAndStatistics) {
  const TempFile folder("", "unused");
  const compare::Trace trace = imported(record(folder, capture::Tier::kAttention).path);
  const auto find = [&](const char* name) {
    return std::any_of(trace.tensors.begin(), trace.tensors.end(),
                       [&](const compare::TraceTensor& t) { return t.name == name; });
  };
  EXPECT_TRUE(find("p0.l2.attn_weights"));
  EXPECT_TRUE(find("p3.logits"));
  EXPECT_TRUE(find("p1.tap_stats"));
  EXPECT_TRUE(find("p1.head_stats"));
  EXPECT_FALSE(find("p0.l0.q"));
  // The rows are those of the whole tensors.
  const TempFile other("", "unused");
  const compare::Trace full = imported(record(other, capture::Tier::kFull).path);
  const compare::Comparison c = compared(trace, full);
  EXPECT_EQ(first_place(c), "none");
  EXPECT_EQ(c.pairs.size(), 4U * 4U);
}

TEST(TraceFile, CutShort_IsRefused) {
  const TempFile folder("", "unused");
  const std::string whole = read_text(record(folder, capture::Tier::kFull).path);
  for (const std::size_t n : {whole.size() - 1, whole.size() / 2, std::size_t{100}}) {
    const TempFile cut(whole.substr(0, n), "cut.safetensors");
    EXPECT_NE(import_error(cut.path()).find("cut short"), std::string::npos) << n;
  }
}

TEST(TraceWriter, HeaderBeyondItsReserve_MovesTheData) {
  const TempFile folder("", "unused");
  const std::string path = folder.folder() + "/x.safetensors";
  compare::TraceWriterOptions options;
  options.header_bytes = 64;  // far too little
  options.queue_bytes = 4096;
  auto writer = compare::TraceWriter::create(path, options);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  std::vector<float> values(2000);
  for (int i = 0; i < 700; ++i) {
    for (std::size_t j = 0; j < values.size(); ++j) {
      values[j] = static_cast<float>(i * 1000) + static_cast<float>(j);
    }
    writer.value()->add("p0.l" + std::to_string(i) + ".q", {2, 1000}, values);
  }
  ASSERT_TRUE(writer.value()->finish("key", "a \"quoted\" text").ok());
  const compare::Trace trace = imported(path);
  ASSERT_EQ(trace.tensors.size(), 700U);
  for (const std::size_t i : {0U, 1U, 350U, 699U}) {
    const auto read = compare::known_values(trace.tensors[i]).value();
    ASSERT_EQ(read.size(), values.size());
    EXPECT_EQ(read.front(), static_cast<float>(i * 1000));
    EXPECT_EQ(read.back(), static_cast<float>(i * 1000) + 1999.0F);
  }
  EXPECT_EQ(files_in(folder.folder()), 2U);  // the test's own file and this one
}

TEST(TraceWriter, Unfinished_LeavesNothing) {
  const TempFile folder("", "unused");
  {
    auto writer = compare::TraceWriter::create(folder.folder() + "/x.safetensors");
    ASSERT_TRUE(writer.ok());
    writer.value()->add("p0.embedding", {1, 3}, std::vector<float>{1, 2, 3});
  }
  EXPECT_EQ(files_in(folder.folder()), 1U);
  EXPECT_FALSE(compare::TraceWriter::create("/nonexistent-folder/x.safetensors").ok());
}

TEST(TraceMeta, WrongTexts_AreRefused) {
  const auto error = [](const std::string& text) {
    compare::Trace trace;
    const Status status = compare::read_trace_meta(text, trace);
    return status.ok() ? std::string() : status.error().message;
  };
  EXPECT_NE(error("[]").find("not a JSON object"), std::string::npos);
  EXPECT_NE(error("{}").find("format"), std::string::npos);
  EXPECT_NE(error(R"({"format":2})").find("format 2"), std::string::npos);
  EXPECT_NE(error(R"({"format":1,"ids":[1,-2]})").find("token id 1"), std::string::npos);
  EXPECT_NE(error(R"({"format":1,"ids":[1,2],"passes":[{"first_position":0,"n_tokens":3}]})")
                .find("pass"),
            std::string::npos);
  EXPECT_EQ(error(R"({"format":1})"), "");
}

}  // namespace
}  // namespace layerscope::testing

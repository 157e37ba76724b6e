// Traces from the GPU: what the CUDA backend records agrees with the CPU's, and the dump header
// takes device pointers.
#include <gtest/gtest.h>

#include <bit>
#include <filesystem>

#include "engine/compare/comparison.h"
#include "engine/compare/registry.h"
#include "engine/compare/verdict.h"
#include "engine/session/trace_recorder.h"
#include "engine/session/trace_run.h"
#include "tests/engine/format/temp_file.h"
#include "tests/gpu/cuda_generator.h"

namespace layerscope::testing {

std::string dump_from_device(const std::string& path, const std::vector<float>& embedding,
                             const std::vector<std::uint16_t>& normed,
                             const std::vector<float>& logits);

namespace {

TEST(GpuTraces, DumpHeader_DevicePointers_AreReadBackBitForBit) {
  LS_NEEDS_CUDA();
  const TempFile folder("", "unused");
  const std::string path = folder.folder() + "/dump.safetensors";
  std::vector<float> embedding(24);
  std::vector<std::uint16_t> normed(24);
  std::vector<float> logits(16);
  for (std::size_t i = 0; i < embedding.size(); ++i) {
    embedding[i] = 0.1F * static_cast<float>(i) - 1.0F;
    normed[i] = static_cast<std::uint16_t>(0x3C00U + i);  // 1 + i/1024
  }
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(i) * -0.5F;
  }
  ASSERT_EQ(dump_from_device(path, embedding, normed, logits), "");
  const auto trace = compare::import_trace(path);
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  EXPECT_EQ(trace.value().ids, (std::vector<std::int32_t>{3, 1, 2}));
  ASSERT_EQ(trace.value().tensors.size(), 3U);
  EXPECT_EQ(compare::known_values(trace.value().tensors[0]).value(), embedding);
  const auto half = compare::known_values(trace.value().tensors[1]).value();
  ASSERT_EQ(half.size(), 24U);
  for (std::size_t i = 0; i < half.size(); ++i) {
    EXPECT_EQ(half[i], 1.0F + static_cast<float>(i) / 1024.0F);
  }
  EXPECT_EQ(compare::known_values(trace.value().tensors[2]).value(), logits);
}

/// A recorded run: prompt and `n` tokens, every tensor.
std::vector<std::int32_t> record(session::Generator& generator, const std::string& path,
                                 std::span<const std::int32_t> prompt,
                                 std::span<const std::int32_t> then) {
  generator.capture.tier = capture::Tier::kFull;
  auto recorder = session::TraceRecorder::start(generator, path, 1 + static_cast<int>(then.size()));
  EXPECT_TRUE(recorder.ok()) << recorder.error().message;
  EXPECT_TRUE(generator.evaluate(prompt, false, {}).ok());
  for (const std::int32_t id : then) {
    EXPECT_TRUE(generator.append(id, capture::Origin::kForced, {}).ok());
  }
  EXPECT_TRUE(recorder.value()->finish(prompt.size(), {}).ok());
  return generator.ids();
}

TEST(GpuTraces, GenerateOnCuda_AgainstTheCpu_NoDivergence) {
  LS_NEEDS_CUDA();
  const auto loaded = model::load_model(demo_model());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const auto ids = loaded.value()
                       ->tokenizer
                       ->encode(
                           "Write a haiku about GPU computing. Use the word forty-six. Write a "
                           "haiku about rain and "
                           "seven stones, then count from one to nine.")
                       .ids;
  ASSERT_GT(ids.size(), 10U);
  const auto prompt = std::span(ids).first(ids.size() - 4);
  const auto then = std::span(ids).last(4);
  const TempFile folder("", "unused");
  for (const bool float32 : {false, true}) {
    SCOPED_TRACE(float32 ? "float32" : "float16 caches");
    const std::string gpu_path = folder.folder() + "/gpu.safetensors";
    const std::string cpu_path = folder.folder() + "/cpu.safetensors";
    auto gpu = cuda_generator(loaded.value(), 128, float32);
    record(gpu, gpu_path, prompt, then);
    auto cpu = make_generator(loaded.value(), 128, 2);
    record(cpu, cpu_path, prompt, then);
    const auto a = compare::import_trace(gpu_path);
    const auto b = compare::import_trace(cpu_path);
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a.value().backend, "cuda");
    const auto comparison = compare::compare_traces(a.value(), b.value());
    ASSERT_TRUE(comparison.ok()) << comparison.error().message;
    std::printf("%s: %s\n", float32 ? "float32" : "default",
                compare::verdict_sentence(comparison.value()).c_str());
    EXPECT_FALSE(comparison.value().diverges()) << compare::verdict_sentence(comparison.value());
    EXPECT_GT(comparison.value().pairs.size(), 500U);
  }
}

}  // namespace
}  // namespace layerscope::testing

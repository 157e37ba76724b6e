// Fuzz target: any bytes as a trace, through every importer that takes them, up to the values in
// our layout. Built with -DLS_LIBFUZZER and clang's -fsanitize=fuzzer it is a libFuzzer program;
// without, a test that runs seeded mutations.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#ifndef LS_LIBFUZZER
#include <gtest/gtest.h>
#endif

#include "engine/compare/comparison.h"
#include "engine/compare/registry.h"
#include "tests/fuzz/mutate.h"

namespace {

/// Importers read files; the name's ending matters to one of them only.
std::string fuzz_path() {
  return (std::filesystem::temp_directory_path() /
          ("layerscope-trace-fuzz-" + std::to_string(::getpid()) + ".bin"))
      .string();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerscope;
  const std::string path = fuzz_path();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  const auto trace = compare::import_trace(path);
  if (!trace.ok()) {
    if (trace.error().code != ErrorCode::kInvalidInput || trace.error().message.empty()) {
      std::abort();
    }
    return 0;
  }
  const compare::Reading reading = compare::read_taps(trace.value(), {});
  for (const compare::TapTensor& tap : reading.taps) {
    const auto values = compare::tap_values(trace.value(), tap, {});
    constexpr std::size_t kMost = 1U << 26U;
    if (values.ok() && values.value().values.size() > kMost) {
      std::abort();  // a few bytes must not become a giant
    }
  }
  const auto same = compare::compare_traces(trace.value(), trace.value());
  if (same.ok() && same.value().tokens) {
    std::abort();  // a trace has its own tokens
  }
  return 0;
}

#ifndef LS_LIBFUZZER
#include "tests/engine/format/safetensors_writer.h"
#include "tests/support/fixtures.h"

namespace layerscope {
namespace {

std::vector<std::string> seeds() {
  const std::string samples = testing::source_dir() + "/tests/engine/compare/samples/";
  testing::SafetensorsWriter w;
  w.metadata("layerscope.trace",
             R"({"format":1,"ids":[1,2],"passes":[{"first_position":0,"n_tokens":2}]})");
  w.tensor<float>("p0.embedding", "F32", {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  w.tensor<float>("p0.l0.q", "F32", {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  w.tensor<float>("p0.l0.attn_weights", "F32", {1, 2, 2}, {1, 0, 0.5, 0.5});
  return {
      w.build(),
      testing::read_text(testing::golden("qwen2", "eval-callback.log")).substr(0, 4000),
      testing::read_text(samples + "checkpoints.jsonl").substr(0, 1500),
      testing::read_text(samples + "logits.npy").substr(0, 128 + 6 * 368 * 4),
      testing::read_text(samples + "modules-qwen2-deflated.npz"),
      R"j({"module_path":"M","children":[{"module_path":"M.model.norm","inputs":{"args":[)j"
      R"j({"shape":"torch.Size([1, 2])","dtype":"torch.float32","value":["[[1.0, 2.0]]"]}]},)j"
      R"j("outputs":{"shape":"torch.Size([1, 2])","dtype":"torch.float32","value":["[1., 2.]"]}}]})j"};
}

TEST(TraceFuzz, SeededMutations_NeverCrash) {
  testing::run_mutations(seeds(), 1, 1000);
  std::filesystem::remove(fuzz_path());
}

}  // namespace
}  // namespace layerscope
#endif

// Fuzz target: any bytes as a safetensors file. Built with -DLS_LIBFUZZER and clang's
// -fsanitize=fuzzer it is a libFuzzer program; without, a test that runs seeded mutations.
#include <cstdlib>
#ifndef LS_LIBFUZZER
#include <gtest/gtest.h>
#endif

#include "engine/format/safetensors.h"
#include "tests/fuzz/mutate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerscope;
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto file = format::parse_safetensors(bytes, "fuzz.safetensors");
  if (!file.ok()) {
    if (file.error().code != ErrorCode::kInvalidInput || file.error().message.empty()) {
      std::abort();
    }
    return 0;
  }
  for (const auto& tensor : file.value().tensors) {
    const auto values = format::safetensors_values(tensor, 0, tensor.n_elements);
    if (values.ok() && values.value().size() != tensor.n_elements) {
      std::abort();
    }
    (void)format::safetensors_integers(tensor).ok();
  }
  return 0;
}

#ifndef LS_LIBFUZZER
#include "tests/engine/format/safetensors_writer.h"

namespace layerscope {
namespace {

TEST(SafetensorsFuzz, SeededMutations_NeverCrash) {
  testing::SafetensorsWriter w;
  w.metadata("layerscope.trace", "{}");
  w.tensor<float>("p0.embedding", "F32", {2, 2}, {1, 2, 3, 4});
  w.tensor<std::uint16_t>("p0.l0.q", "BF16", {1, 2}, {1, 2});
  w.tensor<std::uint64_t>("ids", "U64", {2}, {1, 2});
  testing::run_mutations({w.build(), testing::SafetensorsWriter().build()}, 1, 20000);
}

}  // namespace
}  // namespace layerscope
#endif

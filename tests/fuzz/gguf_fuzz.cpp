// Fuzz target: any bytes as a GGUF file. Built with -DLS_LIBFUZZER and clang's -fsanitize=fuzzer it
// is a libFuzzer program; without, a test that runs seeded mutations.
#include <cstdlib>
#ifndef LS_LIBFUZZER
#include <gtest/gtest.h>
#endif

#include "engine/format/gguf.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/fuzz/mutate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerscope;
  const auto file =
      format::parse_gguf({reinterpret_cast<const std::byte*>(data), size}, "fuzz.gguf");
  if (!file.ok()) {
    if (file.error().code != ErrorCode::kInvalidInput || file.error().message.empty()) {
      std::abort();
    }
    return 0;
  }
  for (const auto& tensor : file.value()->tensors) {
    if (dtype_info(tensor.dtype).decodable &&
        !format::decode_values(tensor, 0, tensor.n_elements).ok()) {
      std::abort();
    }
  }
  const auto tokenizer = tokenizer::Tokenizer::from_model(*file.value());
  if (tokenizer.ok()) {
    const auto encoding = tokenizer.value()->encode("Hello <s> wörld 12\xFF");
    if (encoding.ids.size() != encoding.offsets.size() ||
        tokenizer.value()->decode(encoding.ids, true).size() > (1U << 20U)) {
      std::abort();
    }
  }
  return 0;
}

#ifndef LS_LIBFUZZER
#include "tests/engine/format/gguf_writer.h"
#include "tests/engine/tokenizer/small_vocab.h"

namespace layerscope {
namespace {

std::string with_tokenizer(const tokenizer::Vocab& vocab) {
  testing::GgufWriter w = testing::small_gguf();
  std::vector<std::int32_t> types;
  for (const auto type : vocab.types) {
    types.push_back(static_cast<std::int32_t>(type));
  }
  w.string("tokenizer.ggml.model", vocab.model).string("tokenizer.ggml.pre", vocab.pre);
  w.strings("tokenizer.ggml.tokens", vocab.pieces);
  w.array("tokenizer.ggml.token_type", testing::kGgufI32, types);
  w.strings("tokenizer.ggml.merges", vocab.merges);
  w.array("tokenizer.ggml.scores", testing::kGgufF32, vocab.scores);
  w.u32("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(vocab.bos));
  w.boolean("tokenizer.ggml.add_bos_token", true);
  return w.build();
}

TEST(GgufFuzz, SeededMutations_NeverCrash) {
  testing::run_mutations(
      {testing::small_gguf().build(), with_tokenizer(testing::small_bpe("qwen2")),
       with_tokenizer(testing::small_spm())},
      1, 15000);
}

}  // namespace
}  // namespace layerscope
#endif

// Fuzz target: any bytes as text for four tokenizers. Checks what must hold for every input. Built
// as gguf_fuzz.cpp is.
#include <array>
#include <cstdlib>
#include <memory>
#ifndef LS_LIBFUZZER
#include <gtest/gtest.h>
#endif

#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/tokenizer/small_vocab.h"
#include "tests/fuzz/mutate.h"

namespace layerscope {
namespace {

using TokenizerPtr = std::shared_ptr<const tokenizer::Tokenizer>;

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void check(const TokenizerPtr& tokenizer, std::string_view text, bool parse_special) {
  const auto encoding = tokenizer->encode(text, {parse_special, true});
  require(encoding.ids.size() == encoding.offsets.size());
  std::size_t last = 0;
  std::string stream;
  tokenizer::StreamDecoder decoder(tokenizer, true);
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    require(encoding.ids[i] >= 0 && encoding.ids[i] < tokenizer->n_tokens());
    require(encoding.offsets[i] >= last && encoding.offsets[i] <= text.size());
    last = encoding.offsets[i];
    const std::string part = decoder.push(encoding.ids[i]);
    require(utf8_valid(part));
    stream += part;
  }
  stream += decoder.finish();
  require(stream == utf8_sanitize([&] {
            std::string all;
            for (const auto id : encoding.ids) {
              all += tokenizer->decode(id, true);
            }
            return all;
          }()));
  if (tokenizer->model_name() == "gpt2") {
    require(tokenizer->decode(encoding.ids, true) == text);
  }
}

int check_all(std::string_view text) {
  static const std::array<TokenizerPtr, 4> kTokenizers = {
      tokenizer::build_tokenizer(testing::small_bpe("gpt-2")).value(),
      tokenizer::build_tokenizer(testing::small_bpe("qwen2")).value(),
      tokenizer::build_tokenizer(testing::small_bpe("llama-bpe")).value(),
      tokenizer::build_tokenizer(testing::small_spm()).value()};
  for (const TokenizerPtr& tokenizer : kTokenizers) {
    check(tokenizer, text, true);
    check(tokenizer, text, false);
  }
  return 0;
}

}  // namespace
}  // namespace layerscope

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return layerscope::check_all({reinterpret_cast<const char*>(data), size});
}

#ifndef LS_LIBFUZZER
namespace layerscope {
namespace {

TEST(TokenizerFuzz, SeededMutations_NeverCrash) {
  testing::run_mutations({"hello world, it's 12345!", "<s>hello</s> <|im_end|>!<user>[PAD1]",
                          "Größe 日本語 🙂 \r\n\t  \u180E\u00A0",
                          std::string("\0\xFF\xC0\x80", 4), "▁▁hello <0x0A>"},
                         2, 15000);
}

}  // namespace
}  // namespace layerscope
#endif

// Tokenising 100 KB with a real vocabulary. Goal: well under a second.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string>

#include "engine/format/model_file.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::tokenizer {
namespace {

constexpr std::size_t kBytes = 100 * 1024;

std::string prose() {
  const std::string sentence =
      "The model's next layer adds 3.14 to each of 4,096 values — größer, if you like; "
      "日本語も少し。\n\n    def f(x):\n\treturn x**2 + 1  # it's code\n";
  std::string text;
  while (text.size() < kBytes) {
    text += sentence;
  }
  return text;
}

void bm_tokenize(benchmark::State& state, const std::string& vocab, const std::string& text) {
  const char* shared = std::getenv("LS_SHARED_DIR");
  const auto file = format::read_model_file(std::string(shared == nullptr ? "../shared" : shared) +
                                            "/vocab/" + vocab + ".gguf");
  if (!file.ok()) {
    state.SkipWithError("no vocabulary here; set LS_SHARED_DIR");
    return;
  }
  const auto tokenizer = Tokenizer::from_model(*file.value()).value();
  for (auto _ : state) {
    benchmark::DoNotOptimize(tokenizer->encode(text).ids.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

BENCHMARK_CAPTURE(bm_tokenize, bpe_prose, "gpt-2", prose())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_tokenize, bpe_one_word, "gpt-2", std::string(kBytes, 'a'))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_tokenize, spm_prose, "llama-spm", prose())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_tokenize, spm_one_word, "llama-spm", std::string(kBytes, 'a'))
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace layerscope::tokenizer

// What looking costs: a token evaluated again with every tensor, the logit lens over all layers,
// the statistics of the whole cache. The demo model, or the file that LS_BENCH_MODEL names, on both
// backends, after 512 tokens.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <map>

#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

constexpr int kTokens = 512;
constexpr int kContext = 4096;

std::string model_path() {
  const char* path = std::getenv("LS_BENCH_MODEL");
  return path != nullptr ? path : demo_model();
}

/// One generator per backend for all benchmarks: loading is not what is measured. Null where there
/// is none.
session::Generator* generator(const std::string& backend) {
  static std::map<std::string, std::unique_ptr<session::Generator>> generators;
  const auto [it, fresh] = generators.try_emplace(backend);
  if (!fresh) {
    return it->second.get();
  }
  const auto model = load(model_path());
  auto made = backend::create_backend(model, {backend, 0, kContext});
  if (!made.ok()) {
    return nullptr;
  }
  it->second = std::make_unique<session::Generator>(model, std::move(made).value());
  std::vector<std::int32_t> ids;
  ids.reserve(kTokens);
  for (int i = 0; i < kTokens; ++i) {
    ids.push_back(i * 37 % model->tokenizer->n_tokens());
  }
  if (!it->second->evaluate(ids, false, {}).ok()) {
    it->second.reset();
  }
  return it->second.get();
}

capture::PassCapture inspected(session::Generator& from) {
  capture::Request request;
  request.tier = capture::Tier::kFull;
  capture::PassCapture pass;
  static_cast<void>(from.inspect(kTokens - 1, request, {}, pass));
  return pass;
}

void bm_inspect(benchmark::State& state, const std::string& backend) {
  session::Generator* const from = generator(backend);
  if (from == nullptr) {
    state.SkipWithError("this backend is not available");
    return;
  }
  while (state.KeepRunning()) {
    benchmark::DoNotOptimize(inspected(*from).tensors.size());
  }
}

void bm_lens(benchmark::State& state, const std::string& backend) {
  session::Generator* const from = generator(backend);
  if (from == nullptr) {
    state.SkipWithError("this backend is not available");
    return;
  }
  const capture::PassCapture pass = inspected(*from);
  std::vector<float> residual;
  for (const capture::FullTensor& tensor : pass.tensors) {
    if (tensor.tap == capture::Tap::kEmbedding || tensor.tap == capture::Tap::kResidOut) {
      residual.insert(residual.end(), tensor.values.begin(), tensor.values.end());
    }
  }
  while (state.KeepRunning()) {
    const auto rows = from->lens(residual, {});
    if (!rows.ok()) {
      state.SkipWithError("the lens failed");
      return;
    }
    state.counters["rows"] = static_cast<double>(rows.value().size());
  }
}

void bm_cache_stats(benchmark::State& state, const std::string& backend) {
  session::Generator* const from = generator(backend);
  if (from == nullptr) {
    state.SkipWithError("this backend is not available");
    return;
  }
  while (state.KeepRunning()) {
    const auto stats = from->backend().cache_stats();
    if (!stats.ok()) {
      state.SkipWithError("the cache could not be read");
      return;
    }
    state.counters["slots"] = static_cast<double>(stats.value().slots.size());
  }
}

BENCHMARK_CAPTURE(bm_inspect, cuda, "cuda")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_inspect, cpu, "cpu")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_lens, cuda, "cuda")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_lens, cpu, "cpu")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_cache_stats, cuda, "cuda")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_cache_stats, cpu, "cpu")->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace layerscope::testing

// Decode speed of the demo model, and what capturing costs.
//
// bm_capture_cost alternates one token without capture and one with it, so that both see the same
// machine; `cost_percent` is the ratio of their medians. Bound: 5 (summary and attention).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using capture::Tier;

constexpr int kContext = 512;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

/// Tokens at `depth`, each evaluated alone; the context is rewound before it fills.
class Decoder {
 public:
  explicit Decoder(int depth, int threads = 0)
      : model_(load(demo_model())), backend_(create(model_, threads)) {
    ids_.assign(static_cast<std::size_t>(depth), 300);
    std::vector<float> logits;
    capture::PassCapture captured;
    static_cast<void>(backend_->forward({ids_, 0, false, {}, {}}, logits, captured));
  }

  double token_ms(Tier tier) {
    const std::int32_t id = 301;
    backend::ForwardRequest request;
    request.ids = std::span(&id, 1);
    request.position = backend_->kv_len();
    request.capture.tier = tier;
    const auto start = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(backend_->forward(request, logits_, captured_).ok());
    const auto end = std::chrono::steady_clock::now();
    backend_->truncate(static_cast<int>(ids_.size()));
    return std::chrono::duration<double, std::milli>(end - start).count();
  }

 private:
  static std::unique_ptr<backend::Backend> create(const std::shared_ptr<const model::Model>& model,
                                                  int threads) {
    return std::move(backend::create_backend(model, {"cpu", threads, kContext})).value();
  }

  std::shared_ptr<const model::Model> model_;
  std::unique_ptr<backend::Backend> backend_;
  std::vector<std::int32_t> ids_;
  std::vector<float> logits_;
  capture::PassCapture captured_;
};

void bm_decode(benchmark::State& state, Tier tier) {
  Decoder decoder(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    decoder.token_ms(tier);
  }
  state.counters["tok_s"] = benchmark::Counter(1, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(bm_decode, off, Tier::kOff)->Arg(40)->Arg(400)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_decode, summary, Tier::kSummary)
    ->Arg(40)
    ->Arg(400)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bm_decode, attention, Tier::kAttention)
    ->Arg(40)
    ->Arg(400)
    ->Unit(benchmark::kMillisecond);

void bm_capture_cost(benchmark::State& state, Tier tier) {
  Decoder decoder(static_cast<int>(state.range(0)));
  std::vector<double> off, on;
  for (auto _ : state) {
    off.push_back(decoder.token_ms(Tier::kOff));
    on.push_back(decoder.token_ms(tier));
  }
  state.counters["off_ms"] = median(off);
  state.counters["on_ms"] = median(on);
  state.counters["cost_percent"] = 100.0 * (median(on) / median(off) - 1.0);
}
BENCHMARK_CAPTURE(bm_capture_cost, summary, Tier::kSummary)->Arg(40)->Arg(400)->Iterations(400);
BENCHMARK_CAPTURE(bm_capture_cost, attention, Tier::kAttention)->Arg(40)->Arg(400)->Iterations(400);

}  // namespace
}  // namespace layerscope::testing

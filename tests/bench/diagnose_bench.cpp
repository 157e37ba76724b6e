// What diagnosing costs: live checks per token against the decode step that they follow (bound: 3
// %), and one run of the expensive oracles.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "engine/session/diagnosis.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

session::Diagnosis make_diagnosis(const session::Generator& generator) {
  return {generator, [model = generator.shared_model()](int context) {
            return backend::create_backend(model, {"cpu", 0, context});
          }};
}

void bm_live_checks(benchmark::State& state) {
  auto generator = make_generator(load(demo_model()), 512, 0);
  generator.capture.tier = capture::Tier::kAttention;
  const auto depth = static_cast<std::size_t>(state.range(0));
  const std::vector<std::int32_t> ids(depth, 300);
  if (!generator.evaluate(ids, false, {}).ok()) {
    state.SkipWithError("the prompt failed");
    return;
  }
  auto diagnosis = make_diagnosis(generator);
  diagnosis.start(depth, {});
  diagnosis.observe();
  std::vector<double> decode, checks;
  for (auto _ : state) {
    auto start = Clock::now();
    benchmark::DoNotOptimize(generator.append(301, capture::Origin::kForced, {}).ok());
    decode.push_back(ms_since(start));
    start = Clock::now();
    benchmark::DoNotOptimize(diagnosis.observe());
    checks.push_back(ms_since(start));
    if (generator.ids().size() + 1 >= 512) {
      state.PauseTiming();
      benchmark::DoNotOptimize(generator.rewind(static_cast<int>(depth) - 1, {}).ok());
      diagnosis.rewind(depth);
      diagnosis.observe();
      state.ResumeTiming();
    }
  }
  state.counters["decode_ms"] = median(decode);
  state.counters["checks_ms"] = median(checks);
  state.counters["cost_percent"] = 100.0 * median(checks) / median(decode);
}
BENCHMARK(bm_live_checks)->Arg(40)->Arg(400)->Iterations(400);

void bm_deep_checks(benchmark::State& state) {
  auto generator = make_generator(load(demo_model()), 512, 0);
  const std::vector<std::int32_t> ids(static_cast<std::size_t>(state.range(0)), 300);
  if (!generator.evaluate(ids, false, {}).ok()) {
    state.SkipWithError("the prompt failed");
    return;
  }
  auto diagnosis = make_diagnosis(generator);
  diagnosis.start(ids.size(), {});
  for (auto _ : state) {
    benchmark::DoNotOptimize(diagnosis.deepen({}).ok());
  }
}
BENCHMARK(bm_deep_checks)->Arg(40)->Arg(400)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace layerscope::testing

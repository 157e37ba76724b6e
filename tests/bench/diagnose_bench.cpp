// What diagnosing costs: live checks per token against the decode step that they follow (bound: 3
// %), on every backend that can run here, and one run of the expensive oracles. LS_BENCH_MODEL
// names another model than the demo one.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

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

/// LS_BENCH_MODEL, or the demo model.
std::shared_ptr<const model::Model> bench_model() {
  const char* path = std::getenv("LS_BENCH_MODEL");
  return load(path != nullptr ? path : demo_model());
}

session::Generator generator_on(const char* kind) {
  const auto model = bench_model();
  auto backend = backend::create_backend(model, {kind, 0, 512});
  return {model, std::move(backend).value()};
}

session::Diagnosis make_diagnosis(const session::Generator& generator) {
  return {generator, [&generator](int context) { return generator.backend().fork(context); }};
}

void bm_live_checks(benchmark::State& state, const char* kind, int depth_asked) {
  auto generator = generator_on(kind);
  generator.capture.tier = capture::Tier::kAttention;
  const auto depth = static_cast<std::size_t>(depth_asked);
  const std::vector<std::int32_t> ids(depth, 300);
  if (!generator.evaluate(ids, false, {}).ok()) {
    state.SkipWithError("the prompt failed");
    return;
  }
  auto diagnosis = make_diagnosis(generator);
  diagnosis.start(depth, {});
  diagnosis.observe();
  std::vector<double> decode, checks;
  std::int32_t id = 301;
  for (auto _ : state) {
    auto start = Clock::now();
    benchmark::DoNotOptimize(generator.append(id, capture::Origin::kForced, {}).ok());
    decode.push_back(ms_since(start));
    start = Clock::now();
    benchmark::DoNotOptimize(diagnosis.observe());
    checks.push_back(ms_since(start));
    id = 301 + (id * 13) % 200;
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

/// The checks of one token alone, again and again: what there is to gain, caches warm.
void bm_live_checks_alone(benchmark::State& state) {
  auto generator = generator_on("cpu");
  generator.capture.tier = capture::Tier::kAttention;
  const std::vector<std::int32_t> ids{300, 301, 302, 303, 304, 305, 306, 307};
  if (!generator.evaluate(ids, true, {}).ok()) {
    state.SkipWithError("the prompt failed");
    return;
  }
  diagnose::Subject subject;
  subject.model = generator.shared_model();
  subject.n_prompt = 4;
  diagnose::Report report;
  for (auto _ : state) {
    diagnose::run_live_checks({subject, generator.frames()}, report);
  }
}
BENCHMARK(bm_live_checks_alone)->Unit(benchmark::kMicrosecond);

/// On every backend that can run here.
const bool kRegistered = [] {
  for (const backend::DeviceInfo& device : backend::list_devices(0)) {
    if (!device.usable) {
      continue;
    }
    for (const int depth : {40, 400}) {
      const bool gpu = device.backend == "cuda";
      benchmark::RegisterBenchmark(
          ("bm_live_checks/" + device.backend + "/" + std::to_string(depth)).c_str(),
          bm_live_checks, gpu ? "cuda" : "cpu", depth)
          ->Iterations(400);
    }
  }
  return true;
}();

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

// Matrix times vector on one CPU thread, per weight type: weights of the size of a large layer,
// streamed from memory as in decode, and few enough to stay in the caches (what the code can do).
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "tests/tools/quantize.h"

namespace layerscope::kernels {
namespace {

void bm_matvec(benchmark::State& state, DType dtype) {
  const auto rows = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t kCols = 1024;
  std::mt19937 rng(20260503);
  std::normal_distribution<float> normal;
  std::vector<float> x(kCols);
  std::vector<float> values(kCols);
  for (float& v : x) {
    v = normal(rng);
  }
  for (float& v : values) {
    v = normal(rng);
  }
  const std::vector<std::byte> row = testing::quantize(dtype, values.data(), kCols);
  std::vector<std::byte> bytes;
  for (std::size_t r = 0; r < rows; ++r) {
    bytes.insert(bytes.end(), row.begin(), row.end());
  }
  std::vector<float> out(rows);
  ThreadPool pool(1);
  const Product product{{dtype, bytes.data(), rows, kCols}, nullptr, out.data(), rows};
  for (auto _ : state) {
    matmul(pool, &product, 1, x.data(), 1, kCols);
    benchmark::ClobberMemory();
  }
  const auto runs = static_cast<double>(state.iterations());
  state.counters["GB_s"] = benchmark::Counter(runs * static_cast<double>(bytes.size()) * 1e-9,
                                              benchmark::Counter::kIsRate);
  state.counters["Gweights_s"] = benchmark::Counter(runs * static_cast<double>(rows * kCols) * 1e-9,
                                                    benchmark::Counter::kIsRate);
}

void register_all() {
  for (std::uint32_t raw = 0; raw < 64; ++raw) {
    if (const auto info = find_dtype(raw); info && testing::can_quantize(info->dtype)) {
      benchmark::RegisterBenchmark(("bm_matvec/" + std::string(info->name)).c_str(), bm_matvec,
                                   info->dtype)
          ->Arg(256)
          ->Arg(65536);
    }
  }
}

[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace layerscope::kernels

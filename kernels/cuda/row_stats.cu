// Summary tier: moments of rows, as kernels::row_stats; all rows of a decode step in one launch.
//
// The stages leave what they compute where it is; this reads it once more, mostly from L2 (2.9 MB
// for Qwen2.5-0.5B, 8.9 to 9.4 µs on an H200; 11.2 MB for Llama-3-8B, 12.4 to 12.9 µs). Sums are
// float64, in a fixed order. A layer of a prefill of 512 tokens (163 MB) took 67 µs (52 % of 4.65
// TB/s) before rows were read 16 bytes at a time.
#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// What one thread has seen.
struct Moments {
  double sum = 0.0;
  double squares = 0.0;
  float top = 0.0F;
  unsigned non_finite = 0;
  unsigned zeros = 0;

  __device__ void take(float v) {
    if (!isfinite(v)) {
      ++non_finite;
      return;
    }
    const double wide = v;
    sum += wide;
    squares = fma(wide, wide, squares);
    top = fmaxf(top, fabsf(v));
    zeros += v == 0.0F ? 1U : 0U;
  }
  __device__ void take(const float4& v) {
    take(v.x);
    take(v.y);
    take(v.z);
    take(v.w);
  }
};

__global__ void __launch_bounds__(kThreads)
    row_stats_kernel(const StatsEntry* entries, RawStats* out, int out_stride) {
  __shared__ double sums[kWarp];
  __shared__ float tops[kWarp];
  __shared__ unsigned counts[kWarp];
  wait_for_previous();
  let_next_start();
  const StatsEntry entry = entries[blockIdx.x];
  const float* row = entry.values + static_cast<std::size_t>(blockIdx.y) * entry.width;
  Moments m;
  const bool wide = entry.width % 4 == 0 && (reinterpret_cast<std::uintptr_t>(row) & 15U) == 0;
  if (wide) {
    // 16 bytes per load, two under way: a prefill's rows come from memory, not from L2.
    const float4* pieces = reinterpret_cast<const float4*>(row);
    const int n = entry.width / 4;
    for (int i = static_cast<int>(threadIdx.x); i < n; i += 2 * kThreads) {
      const float4 first = pieces[i];
      const bool more = i + kThreads < n;
      const float4 second = more ? pieces[i + kThreads] : float4{};
      m.take(first);
      if (more) {
        m.take(second);
      }
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < entry.width; i += kThreads) {
      m.take(row[i]);
    }
  }
  const double sum = block_sum(m.sum, sums);
  const double squares = block_sum(m.squares, sums);
  const float top = block_max(m.top, tops);
  const unsigned non_finite = block_sum(m.non_finite, counts);
  const unsigned zeros = block_sum(m.zeros, counts);
  if (threadIdx.x == 0) {
    out[static_cast<std::size_t>(blockIdx.y) * out_stride + entry.slot] = {
        sum, squares, top, non_finite, zeros, static_cast<std::uint32_t>(entry.width)};
  }
}

}  // namespace

Status launch_row_stats(const Launch& on, const StatsEntry* entries, int n_entries, int n_rows,
                        RawStats* out, int out_stride) {
  const dim3 grid(static_cast<unsigned>(n_entries), static_cast<unsigned>(n_rows));
  return launch(on, row_stats_kernel, grid, kThreads, 0, entries, out, out_stride);
}

}  // namespace layerscope::kernels::cuda

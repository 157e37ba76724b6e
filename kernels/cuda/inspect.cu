// Looking on request: one pass over a layer's keys and values, or over rows of logits. Asked for by
// a person, so bound by reading the bytes once: a cache of 4,096 slots of Llama-3-8B is 0.5 GB
// (0.12 ms at 4.65 TB/s), 33 rows of 128,256 logits 17 MB.
#include "kernels/cuda/inspect.h"

#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

__device__ float as_float(float v) { return v; }
__device__ float as_float(__half v) { return __half2float(v); }

/// What a lane has seen of a slot.
struct Seen {
  double squares = 0.0;
  unsigned non_finite = 0;
  bool zero = true;

  template <class T>
  __device__ void row(const T* values, int n, int lane) {
    for (int i = lane; i < n; i += kWarp) {
      const float v = as_float(values[i]);
      if (isfinite(v)) {
        squares = fma(static_cast<double>(v), static_cast<double>(v), squares);
        zero = zero && v == 0.0F;
      } else {
        ++non_finite;
        zero = false;
      }
    }
    for (int step = kWarp / 2; step > 0; step /= 2) {
      squares += __shfl_xor_sync(0xFFFFFFFFU, squares, step);
      non_finite += __shfl_xor_sync(0xFFFFFFFFU, non_finite, step);
    }
    zero = __all_sync(0xFFFFFFFFU, zero) != 0;
  }
};

/// A warp per slot; blockIdx.y is the KV head.
template <class T>
__global__ void __launch_bounds__(kThreads)
    slot_stats_kernel(HeadLayout heads, LayerCache cache, int n_slots, RawSlotStats* out) {
  const int slot = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (slot >= n_slots) {
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::size_t at =
      (static_cast<std::size_t>(blockIdx.y) * heads.context + slot) * heads.head_stride;
  Seen key;
  Seen value;
  key.row(static_cast<const T*>(cache.keys) + at, heads.head_dim, lane);
  value.row(static_cast<const T*>(cache.values) + at, heads.head_dim, lane);
  if (lane == 0) {
    const unsigned non_finite = key.non_finite + value.non_finite;
    RawSlotStats& stats = out[static_cast<std::size_t>(blockIdx.y) * n_slots + slot];
    stats.k_l2 = static_cast<float>(sqrt(key.squares));
    stats.v_l2 = static_cast<float>(sqrt(value.squares));
    stats.non_finite = static_cast<std::uint16_t>(non_finite < 0xFFFFU ? non_finite : 0xFFFFU);
    stats.zero = key.zero && value.zero;
  }
}

/// A block per row.
__global__ void __launch_bounds__(kThreads)
    token_ranks_kernel(const float* logits, int width, const std::int32_t* id, TokenRank* out) {
  __shared__ int scratch[kWarp];
  const std::int32_t token = *id;
  if (token < 0 || token >= width) {
    if (threadIdx.x == 0) {
      out[blockIdx.x] = {0.0F, -1};
    }
    return;
  }
  const float* row = logits + static_cast<std::size_t>(blockIdx.x) * width;
  const float own = row[token];
  int above = 0;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    above += row[i] > own ? 1 : 0;
  }
  above = block_sum(above, scratch);
  if (threadIdx.x == 0) {
    out[blockIdx.x] = {own, above};
  }
}

}  // namespace

Status launch_slot_stats(const Launch& on, const HeadLayout& heads, const LayerCache& cache,
                         int n_slots, RawSlotStats* out) {
  if (n_slots == 0) {
    return {};
  }
  const dim3 grid(static_cast<unsigned>((n_slots + kWarps - 1) / kWarps),
                  static_cast<unsigned>(heads.n_kv_heads));
  return heads.kv_f32
             ? launch(on, slot_stats_kernel<float>, grid, kThreads, 0, heads, cache, n_slots, out)
             : launch(on, slot_stats_kernel<__half>, grid, kThreads, 0, heads, cache, n_slots, out);
}

Status launch_token_ranks(const Launch& on, const float* logits, int n_rows, int width,
                          const std::int32_t* id, TokenRank* out) {
  return launch(on, token_ranks_kernel, dim3(static_cast<unsigned>(n_rows)), kThreads, 0, logits,
                width, id, out);
}

}  // namespace layerscope::kernels::cuda

// The statistics of a finished attention row, shared by decode and prefill.
#pragma once

#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {

#ifdef __CUDACC__

struct HeadRowScratch {
  float values[kWarp];
  int indices[kWarp];
};

/// Statistics of p(0 … n − 1), read from the row itself, so that a wrong soft-max shows. `p` gives
/// the finished probability of a key. All threads call; thread 0 returns the result.
template <int kThreads, class P>
__device__ RawHeadStats summarise_row(P p, int n, float lse, HeadRowScratch& scratch) {
  float sum = 0.0F;
  float plogp = 0.0F;
  float best = -1.0F;
  int best_at = 0;
  for (int j = static_cast<int>(threadIdx.x); j < n; j += kThreads) {
    const float v = p(j);
    sum += v;
    plogp += v > 0.0F ? v * logf(v) : 0.0F;
    if (v > best) {
      best = v;
      best_at = j;
    }
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFU, best, step);
    const int other_at = __shfl_xor_sync(0xFFFFFFFFU, best_at, step);
    if (other > best || (other == best && other_at < best_at)) {
      best = other;
      best_at = other_at;
    }
  }
  sum = block_sum(sum, scratch.values);
  plogp = block_sum(plogp, scratch.values);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) {
    scratch.values[threadIdx.x / kWarp] = best;
    scratch.indices[threadIdx.x / kWarp] = best_at;
  }
  __syncthreads();
  RawHeadStats out;
  if (threadIdx.x == 0) {
    for (int w = 1; w < kThreads / kWarp; ++w) {
      if (scratch.values[w] > best || (scratch.values[w] == best && scratch.indices[w] < best_at)) {
        best = scratch.values[w];
        best_at = scratch.indices[w];
      }
    }
    out.row_sum = sum;
    out.entropy = -plogp;
    out.max = best < 0.0F ? 0.0F : best;  // a row of NaN has no maximum
    out.argmax = best_at;
    out.first = p(0);
    out.self = p(n - 1);
    out.lse = lse;
  }
  return out;
}

/// Capture::PooledRows: `width` keys per bin, the smallest power of two with which `n` keys fit.
__device__ __forceinline__ int pooled_width(int n, int bins) {
  int width = 1;
  while (n > bins * width) {
    width *= 2;
  }
  return width;
}

/// Takes p(j) of consecutive keys in consecutive lanes, all lanes at once, into cells [bins] of
/// shared memory, zero before. j is the key of this lane; lanes past the end give 0.
__device__ __forceinline__ void pool_probability(float p, int j, int n, int width,
                                                 unsigned* cells) {
  // Non-negative floats are ordered as their bits, and a NaN is above all of them.
  unsigned bits = j < n ? __float_as_uint(p) & 0x7FFFFFFFU : 0U;
  const int group = width < kWarp ? width : kWarp;
  for (int step = 1; step < group; step *= 2) {
    bits = max(bits, __shfl_xor_sync(0xFFFFFFFFU, bits, step));
  }
  if (j < n && (threadIdx.x % kWarp) % static_cast<unsigned>(group) == 0) {
    atomicMax(&cells[j / width], bits);
  }
}

/// A cell as the host wants it.
__device__ __forceinline__ std::uint8_t pooled_cell(unsigned bits) {
  if (bits > 0x7F800000U) {
    return 255;
  }
  const float root = sqrtf(__uint_as_float(bits));
  return static_cast<std::uint8_t>(fminf(rintf(root * 254.0F), 254.0F));
}

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

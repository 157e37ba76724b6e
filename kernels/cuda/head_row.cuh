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

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

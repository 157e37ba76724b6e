// Prefill: causal soft-max of score rows in place, with their statistics; and the mask alone.
//
// One block per row. The scores come scaled from the product. Bytes: the row read three times (L2
// for all but very long contexts) and written twice.
#include "kernels/cuda/head_row.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    softmax_kernel(float* scores, int n, int keys, int first, RawHeadStats* stats,
                   int stats_stride) {
  __shared__ HeadRowScratch scratch;
  const int t = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y);
  float* row = scores + (static_cast<std::size_t>(head) * n + t) * keys;
  const int seen = first + t + 1;
  const int tid = static_cast<int>(threadIdx.x);
  float top = -INFINITY;
  for (int j = tid; j < seen; j += kThreads) {
    top = fmaxf(top, row[j]);
  }
  top = block_max(top, scratch.values);
  float total = 0.0F;
  for (int j = tid; j < seen; j += kThreads) {
    const float e = expf(row[j] - top);
    row[j] = e;
    total += e;
  }
  total = block_sum(total, scratch.values);
  const float inverse = 1.0F / total;
  for (int j = tid; j < keys; j += kThreads) {
    row[j] = j < seen ? row[j] * inverse : 0.0F;
  }
  if (stats != nullptr) {
    __syncthreads();
    const RawHeadStats result =
        summarise_row<kThreads>([&](int j) { return row[j]; }, seen, top + logf(total), scratch);
    if (tid == 0) {
      stats[static_cast<std::size_t>(t) * stats_stride + head] = result;
    }
  }
}

__global__ void __launch_bounds__(kThreads) mask_kernel(float* scores, int n, int keys, int first) {
  const int t = static_cast<int>(blockIdx.x);
  float* row = scores + (static_cast<std::size_t>(blockIdx.y) * n + t) * keys;
  for (int j = first + t + 1 + static_cast<int>(threadIdx.x); j < keys; j += kThreads) {
    row[j] = -INFINITY;
  }
}

}  // namespace

Status launch_softmax(const Launch& on, float* scores, int n_heads, int n, int keys, int first,
                      RawHeadStats* stats, int stats_stride) {
  return launch(on, softmax_kernel, dim3(static_cast<unsigned>(n), static_cast<unsigned>(n_heads)),
                kThreads, 0, scores, n, keys, first, stats, stats_stride);
}

Status launch_mask(const Launch& on, float* scores, int n_heads, int n, int keys, int first) {
  return launch(on, mask_kernel, dim3(static_cast<unsigned>(n), static_cast<unsigned>(n_heads)),
                kThreads, 0, scores, n, keys, first);
}

}  // namespace layerscope::kernels::cuda

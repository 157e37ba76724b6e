// Attention of one token with something wrong per head: one block per head, sums in float64, in
// the order that the CPU's fault pass takes for each score.
#include "kernels/cuda/fault_ops.h"
#include "kernels/cuda/head_row.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__device__ float cached(const void* cache, bool f32, std::size_t at) {
  return f32 ? static_cast<const float*>(cache)[at]
             : __half2float(static_cast<const __half*>(cache)[at]);
}

/// q · k of one key.
__device__ double product(const FaultAttention& s, const float* q, std::size_t slot, bool half) {
  double dot = 0.0;
  for (int d = 0; d < s.heads.head_dim; ++d) {
    dot += static_cast<double>(q[d] * cached(s.cache.keys, s.heads.kv_f32, slot + d));
    if (half) {
      dot = static_cast<double>(__half2float(__float2half_rn(static_cast<float>(dot))));
    }
  }
  return dot;
}

__global__ void __launch_bounds__(kThreads)
    fault_attention_kernel(const __grid_constant__ FaultAttention s) {
  __shared__ HeadRowScratch scratch;
  __shared__ double sums[kWarp];
  const auto head = static_cast<std::size_t>(blockIdx.x);
  const FaultHead how = s.per_head[head];
  const int dim = s.heads.head_dim;
  const int tid = static_cast<int>(threadIdx.x);
  const int seen = how.sees_all != 0 ? s.keys : s.own;
  const float* q = s.q + head * dim;
  float* scores = s.scores + head * s.keys;
  float* weights = s.weights + head * s.keys;
  const std::size_t first_slot =
      static_cast<std::size_t>(how.kv_head) * s.heads.context * s.heads.head_stride;
  const auto slot = [&](int j) {
    return first_slot + static_cast<std::size_t>(j) * s.heads.head_stride;
  };
  const int first = how.window > 0 && s.own > how.window ? s.own - how.window : 0;
  float top = -INFINITY;
  for (int j = tid; j < s.keys; j += kThreads) {
    scores[j] = -INFINITY;
    if (j >= first && j < seen) {
      const double scaled = product(s, q, slot(j), how.half_scores != 0) * how.scale;
      scores[j] = static_cast<float>(how.cap > 0.0 ? how.cap * tanh(scaled / how.cap) : scaled);
    }
    top = fmaxf(top, scores[j]);
  }
  top = block_max(top, scratch.values);
  double total = 0.0;
  for (int j = first + tid; j < seen; j += kThreads) {
    total += exp(static_cast<double>(scores[j]) - static_cast<double>(top));
  }
  total = block_sum(total, sums);
  for (int j = tid; j < s.keys; j += kThreads) {
    double weight = 0.0;
    if (j >= first && j < seen) {  // keys before the window weigh nothing in a row of NaN either
      weight = exp(static_cast<double>(scores[j]) - static_cast<double>(top));
      weight = how.unnormalised != 0 ? weight : weight / total;
    }
    weights[j] = static_cast<float>(weight);
  }
  __syncthreads();
  for (int d = tid; d < dim; d += kThreads) {
    double sum = 0.0;
    for (int j = first; j < seen; ++j) {
      sum += static_cast<double>(weights[j]) *
             static_cast<double>(cached(s.cache.values, s.heads.kv_f32, slot(j) + d));
    }
    s.out[head * dim + d] = static_cast<float>(sum);
  }
  const auto lse = static_cast<float>(static_cast<double>(top) + log(total));
  const RawHeadStats row =
      summarise_row<kThreads>([&](int j) { return weights[j]; }, s.own, lse, scratch);
  if (tid == 0) {
    s.stats[head] = row;
  }
}

}  // namespace

Status launch_fault_attention(const Launch& on, const FaultAttention& stage) {
  return launch(on, fault_attention_kernel, dim3(static_cast<unsigned>(stage.heads.n_heads)),
                kThreads, 0, stage);
}

}  // namespace layerscope::kernels::cuda

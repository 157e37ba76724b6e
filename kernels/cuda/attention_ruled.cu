// Attention with rules upon the scores: a soft-cap (Gemma 2), a sliding window (Beltagy et al.
// 2020); and of heads larger than the fused kernels take. Decode split over keys, rows again, and
// the rules upon a prefill's scores.
//
// A block takes a chunk of keys of one query head: a warp computes a score, threads share the
// dimensions of the sum of values. Parts of a head pass through device memory; the last block to
// arrive adds them in the order of keys, whichever block that is. Keys before the window are not
// read. Bytes: the window's keys and values once per query head that shares them, mostly from L2.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/plain_ops.h"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;

__device__ __forceinline__ float cached(const float* cache, std::size_t at) {
  return __ldcg(cache + at);
}
__device__ __forceinline__ float cached(const __half* cache, std::size_t at) {
  return __half2float(__ldcg(cache + at));
}

__device__ __forceinline__ float capped(float score, float cap) {
  return cap > 0.0F ? cap * tanhf(score / cap) : score;
}

__host__ __device__ __forceinline__ int first_key(int position, int window) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

/// q · k over a warp; the same bits in every lane.
template <class T>
__device__ __forceinline__ float dot(const float* q, const T* keys, std::size_t row, int dim) {
  float sum = 0.0F;
  for (int d = static_cast<int>(threadIdx.x) % kWarp; d < dim; d += kWarp) {
    sum = fmaf(q[d], cached(keys, row + d), sum);
  }
  return warp_sum(sum);
}

/// exp(score − top), 0 for what is masked; a NaN stays one.
__device__ __forceinline__ float exponential(float score, float top) {
  return score == -INFINITY ? 0.0F : expf(score - top);
}

/// The last block of a head to arrive: weights of the parts (shared memory [used]) and their sum.
__device__ void combine(const AttentionStage& s, int head, int used, float* weight) {
  const Parts parts = find_parts(s.parts, s.n_splits, s.heads.n_heads, s.heads.head_stride);
  const auto row = [&](int k) { return static_cast<std::size_t>(k) * s.heads.n_heads + head; };
  __shared__ float scratch[kWarp];
  const int tid = static_cast<int>(threadIdx.x);
  float top = -INFINITY;
  for (int k = tid; k < used; k += kThreads) {
    top = fmaxf(top, __ldcg(parts.maxima + row(k)));
  }
  top = block_max(top, scratch);
  float total = 0.0F;
  for (int k = tid; k < used; k += kThreads) {
    weight[k] = exponential(__ldcg(parts.maxima + row(k)), top);
    const float part = __ldcg(parts.totals + row(k));
    total += isnan(part) ? part : weight[k] * part;
  }
  total = block_sum(total, scratch);  // ends with a barrier before the sum is read
  const float inverse = 1.0F / total;
  for (int d = tid; d < s.heads.head_dim; d += kThreads) {
    float v = 0.0F;
    for (int k = 0; k < used; ++k) {
      v = fmaf(weight[k], __ldcg(parts.sums + row(k) * s.heads.head_stride + d), v);
    }
    s.out[static_cast<std::size_t>(head) * s.heads.head_dim + d] = v * inverse;
  }
  if (tid == 0) {
    s.lse[head] = top + logf(total);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    attention_ruled_kernel(const __grid_constant__ AttentionStage s, const ScoreRules rules) {
  extern __shared__ float memory[];  // q [head_dim], then scores [chunk] or weights [n_splits]
  __shared__ float scratch[kWarp];
  __shared__ bool last;
  wait_for_previous();
  let_next_start();
  const int dim = s.heads.head_dim;
  float* q = memory;
  float* score = memory + dim;
  const int tid = static_cast<int>(threadIdx.x);
  const int head = static_cast<int>(blockIdx.y);
  const int position = s.state->position;
  const int kv_len = position + 1;
  const int used = (kv_len + s.chunk - 1) / s.chunk;
  const int split = static_cast<int>(blockIdx.x);
  if (split >= used) {
    return;
  }
  const int begin = split * s.chunk;
  const int n_keys = min(s.chunk, kv_len - begin);
  const int first = max(0, first_key(position, rules.window) - begin);  // within the chunk
  const int kv_head = head / (s.heads.n_heads / s.heads.n_kv_heads);
  const std::size_t stride = s.heads.head_stride;
  const std::size_t base = (static_cast<std::size_t>(kv_head) * s.heads.context + begin) * stride;
  const T* keys = static_cast<const T*>(s.cache.keys);
  const T* values = static_cast<const T*>(s.cache.values);
  for (int d = tid; d < dim; d += kThreads) {
    q[d] = __ldcg(s.q + static_cast<std::size_t>(head) * dim + d);
  }
  __syncthreads();
  float* row = s.state->rows;
  if (row != nullptr) {
    row += static_cast<std::size_t>(s.first_row + head) * s.state->row_stride + begin;
  }
  for (int j = tid / kWarp; j < n_keys; j += kWarps) {
    const float v =
        j < first ? -INFINITY
                  : capped(dot(q, keys, base + static_cast<std::size_t>(j) * stride, dim) * s.scale,
                           rules.cap);
    if (tid % kWarp == 0) {
      score[j] = v;
      if (row != nullptr) {
        row[j] = v;
      }
    }
  }
  __syncthreads();
  float top = -INFINITY;
  for (int j = tid; j < n_keys; j += kThreads) {
    top = fmaxf(top, score[j]);
  }
  top = block_max(top, scratch);
  float total = 0.0F;
  for (int j = tid; j < n_keys; j += kThreads) {
    score[j] = exponential(score[j], top);
    total += score[j];
  }
  total = block_sum(total, scratch);
  const bool alone = used == 1;
  const Parts parts = find_parts(s.parts, s.n_splits, s.heads.n_heads, s.heads.head_stride);
  const std::size_t part = static_cast<std::size_t>(split) * s.heads.n_heads + head;
  const float inverse = 1.0F / total;
  for (int d = tid; d < dim; d += kThreads) {
    float v = 0.0F;
#pragma unroll 4
    for (int j = first; j < n_keys; ++j) {
      v = fmaf(score[j], cached(values, base + static_cast<std::size_t>(j) * stride + d), v);
    }
    if (alone) {
      s.out[static_cast<std::size_t>(head) * dim + d] = v * inverse;
    } else {
      parts.sums[part * stride + d] = v;
    }
  }
  if (alone) {
    if (tid == 0) {
      s.lse[head] = top + logf(total);
    }
    return;
  }
  if (tid == 0) {
    parts.maxima[part] = top;
    parts.totals[part] = total;
  }
  __threadfence();
  __syncthreads();
  if (tid == 0) {
    const unsigned before = atomicAdd(&s.arrived[head], 1U);
    last = before + 1 == static_cast<unsigned>(used);
    if (last) {
      s.arrived[head] = 0;
    }
  }
  __syncthreads();
  if (last) {
    __threadfence();
    combine(s, head, used, score);
  }
}

/// Rows again, one block each.
template <class T>
__global__ void __launch_bounds__(kThreads)
    recompute_ruled_kernel(HeadLayout heads, LayerCache cache, float scale, const ScoreRules rules,
                           int head, int first, float* out, int out_stride) {
  extern __shared__ float q[];  // [head_dim]
  __shared__ float scratch[kWarp];
  const int tid = static_cast<int>(threadIdx.x);
  const int position = first + static_cast<int>(blockIdx.x);
  const int kv_len = position + 1;
  const int seen_from = first_key(position, rules.window);
  const int kv_head = head / (heads.n_heads / heads.n_kv_heads);
  const std::size_t stride = heads.head_stride;
  const std::size_t base = static_cast<std::size_t>(kv_head) * heads.context * stride;
  const float* query =
      cache.queries + (static_cast<std::size_t>(head) * heads.context + position) * stride;
  float* probs = out + static_cast<std::size_t>(blockIdx.x) * out_stride;
  const T* keys = static_cast<const T*>(cache.keys);
  for (int d = tid; d < heads.head_dim; d += kThreads) {
    q[d] = query[d];
  }
  __syncthreads();
  for (int j = tid / kWarp; j < kv_len; j += kWarps) {
    const float v =
        j < seen_from
            ? -INFINITY
            : capped(
                  dot(q, keys, base + static_cast<std::size_t>(j) * stride, heads.head_dim) * scale,
                  rules.cap);
    if (tid % kWarp == 0) {
      probs[j] = v;
    }
  }
  __syncthreads();
  float top = -INFINITY;
  for (int j = tid; j < kv_len; j += kThreads) {
    top = fmaxf(top, probs[j]);
  }
  top = block_max(top, scratch);
  float total = 0.0F;
  for (int j = tid; j < kv_len; j += kThreads) {
    total += exponential(probs[j], top);
  }
  total = block_sum(total, scratch);
  const float lse = top + logf(total);
  for (int j = tid; j < kv_len; j += kThreads) {
    probs[j] = exponential(probs[j], lse);
  }
}

__global__ void __launch_bounds__(kThreads)
    rule_scores_kernel(float* scores, int n, int keys, int first, const ScoreRules rules) {
  const int t = static_cast<int>(blockIdx.x);
  float* row = scores + (static_cast<std::size_t>(blockIdx.y) * n + t) * keys;
  const int seen_from = first_key(first + t, rules.window);
  const int seen = first + t + 1;
  for (int j = static_cast<int>(threadIdx.x); j < seen; j += kThreads) {
    row[j] = j < seen_from ? -INFINITY : capped(row[j], rules.cap);
  }
}

}  // namespace

Status launch_attention_ruled(const Launch& on, const AttentionStage& stage,
                              const ScoreRules& rules) {
  const dim3 grid(static_cast<unsigned>(stage.n_splits),
                  static_cast<unsigned>(stage.heads.n_heads));
  const int room = stage.chunk > stage.n_splits ? stage.chunk : stage.n_splits;
  const std::size_t shared = static_cast<std::size_t>(stage.heads.head_dim + room) * sizeof(float);
  return stage.heads.kv_f32
             ? launch(on, attention_ruled_kernel<float>, grid, kThreads, shared, stage, rules)
             : launch(on, attention_ruled_kernel<__half>, grid, kThreads, shared, stage, rules);
}

Status launch_attention_recompute_ruled(const Launch& on, const HeadLayout& heads,
                                        const LayerCache& cache, float scale,
                                        const ScoreRules& rules, int head, int first, int n,
                                        float* out, int stride) {
  const dim3 grid(static_cast<unsigned>(n));
  const std::size_t shared = static_cast<std::size_t>(heads.head_dim) * sizeof(float);
  return heads.kv_f32 ? launch(on, recompute_ruled_kernel<float>, grid, kThreads, shared, heads,
                               cache, scale, rules, head, first, out, stride)
                      : launch(on, recompute_ruled_kernel<__half>, grid, kThreads, shared, heads,
                               cache, scale, rules, head, first, out, stride);
}

Status launch_rule_scores(const Launch& on, float* scores, int n_heads, int n, int keys, int first,
                          const ScoreRules& rules) {
  return launch(on, rule_scores_kernel,
                dim3(static_cast<unsigned>(n), static_cast<unsigned>(n_heads)), kThreads, 0, scores,
                n, keys, first, rules);
}

}  // namespace layerscope::kernels::cuda

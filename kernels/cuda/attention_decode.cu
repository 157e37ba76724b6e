// Decode stage 2: attention of one token over the cache, split over keys.
//
// A block takes `chunk` keys of one KV head for up to kHeads query heads that share it, so K and V
// are read once however many query heads there are. Scores stay in shared memory and are also
// written out once: with the log-sum-exp they are the captured attention row, p = exp(s − lse). The
// last block of a KV head to finish combines the parts in order of keys: the result does not depend
// on which block that is. Bytes: K and V rows in use once. Measured alone on an H200
// at depth 128 with a cold cache: 12.5 µs (8 KV heads of 128) and 12.0 µs (2 of 64), which is
// latency, not bandwidth: the largest share of a small model's step and the next thing to improve.
#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kDims = 8;  ///< dimensions that a lane holds

struct Eight {
  float v[kDims];
};

__device__ __forceinline__ void prefetch_l2(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

template <class T>
__device__ __forceinline__ Eight load_eight(const T* p) {
  Eight e;
  if constexpr (sizeof(T) == 4) {
    const float4 a = *reinterpret_cast<const float4*>(p);
    const float4 b = *reinterpret_cast<const float4*>(p + 4);
    e = {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
  } else {
    const uint4 bits = *reinterpret_cast<const uint4*>(p);
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
      e.v[2 * i] = pair.x;
      e.v[2 * i + 1] = pair.y;
    }
  }
  return e;
}

/// q · k over the kLanes lanes that share a key; the same bits in each of them.
template <int kLanes>
__device__ __forceinline__ float dot_over_lanes(const Eight& q, const Eight& k) {
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kDims; ++i) {
    sum = fmaf(q.v[i], k.v[i], sum);
  }
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xFFFFFFFFU, sum, step);
  }
  return sum;
}

/// Where the floats of a part stand: [split][head][head_stride] sums, then maxima and totals.
struct Parts {
  float* sums;
  float* maxima;
  float* totals;
};
__device__ __host__ inline Parts find_parts(float* base, int n_splits, int n_heads, int stride) {
  const std::size_t rows = static_cast<std::size_t>(n_splits) * static_cast<std::size_t>(n_heads);
  return {base, base + rows * static_cast<std::size_t>(stride),
          base + rows * (static_cast<std::size_t>(stride) + 1)};
}

template <class T, int kLanes, int kHeads>
__global__ void __launch_bounds__(kThreads)
    attention_kernel(const __grid_constant__ AttentionStage s) {
  constexpr int kKeys = kWarp / kLanes;  // keys that a warp takes at once
  extern __shared__ float shared[];
  __shared__ bool last;
  __shared__ float tops[kHeads];
  __shared__ float totals[kHeads];
  const int stride = s.heads.head_stride;
  const int per_kv = s.heads.n_heads / s.heads.n_kv_heads;
  const int groups = (per_kv + kHeads - 1) / kHeads;
  const int kv_head = static_cast<int>(blockIdx.y) / groups;
  const int first_head = kv_head * per_kv + static_cast<int>(blockIdx.y) % groups * kHeads;
  const int n_here = min(kHeads, (kv_head + 1) * per_kv - first_head);
  float* score = shared;                       // [kHeads][chunk]
  float* partial = shared + kHeads * s.chunk;  // [kWarps][kHeads][stride]
  const int tid = static_cast<int>(threadIdx.x);
  const int warp = tid / kWarp;
  const int lane = tid % kWarp;
  const int part_lane = lane % kLanes;
  const int d0 = part_lane * kDims;
  const bool in_head = d0 < stride;

  let_next_start();
  // The position was there before the step began; only the newest row of the cache is still being
  // written, so the rows before it can come closer while the previous kernel finishes.
  const int kv_len = s.state->position + 1;
  float* const rows = s.state->rows;
  const int row_stride = s.state->row_stride;
  const int used_splits = (kv_len + s.chunk - 1) / s.chunk;
  const int split = static_cast<int>(blockIdx.x);
  if (split < used_splits) {
    constexpr int kLine = 128 / static_cast<int>(sizeof(T));
    const std::size_t first =
        (static_cast<std::size_t>(kv_head) * s.heads.context + split * s.chunk) * stride;
    const int n = min(s.chunk, kv_len - split * s.chunk) * stride;
    for (int i = tid * kLine; i < n; i += kThreads * kLine) {
      prefetch_l2(static_cast<const T*>(s.cache.keys) + first + i);
      prefetch_l2(static_cast<const T*>(s.cache.values) + first + i);
    }
  }
  wait_for_previous();
  if (split >= used_splits) {
    return;
  }
  const int begin = split * s.chunk;
  const int n_keys = min(s.chunk, kv_len - begin);
  const T* keys = static_cast<const T*>(s.cache.keys) +
                  (static_cast<std::size_t>(kv_head) * s.heads.context + begin) * stride;
  const T* values = static_cast<const T*>(s.cache.values) +
                    (static_cast<std::size_t>(kv_head) * s.heads.context + begin) * stride;

  Eight q[kHeads];
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      const bool inside = g < n_here && d0 + i < s.heads.head_dim;
      q[g].v[i] = inside ? s.q[(first_head + g) * s.heads.head_dim + d0 + i] : 0.0F;
    }
  }
  constexpr int kTurn = kWarps * kKeys;
  constexpr int kTogether = 2;  // turns whose loads are under way together
  for (int base = warp * kKeys; base < n_keys; base += kTogether * kTurn) {
    Eight k[kTogether] = {};
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      const int j = base + u * kTurn + lane / kLanes;
      if (j < n_keys && in_head) {
        k[u] = load_eight(keys + static_cast<std::size_t>(j) * stride + d0);
      }
    }
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      const int j = base + u * kTurn + lane / kLanes;
#pragma unroll
      for (int g = 0; g < kHeads; ++g) {
        const float dot = dot_over_lanes<kLanes>(q[g], k[u]) * s.scale;
        if (part_lane == 0 && j < n_keys && g < n_here) {
          score[g * s.chunk + j] = dot;
          if (rows != nullptr) {
            rows[static_cast<std::size_t>(s.first_row + first_head + g) * row_stride + begin + j] =
                dot;
          }
        }
      }
    }
  }
  __syncthreads();

  const Parts parts = find_parts(s.parts, s.n_splits, s.heads.n_heads, stride);
  for (int g = warp; g < n_here; g += kWarps) {
    float* row = score + g * s.chunk;
    float top = -INFINITY;
    for (int j = lane; j < n_keys; j += kWarp) {
      top = fmaxf(top, row[j]);
    }
    top = warp_max(top);
    float total = 0.0F;
    for (int j = lane; j < n_keys; j += kWarp) {
      const float e = expf(row[j] - top);
      row[j] = e;
      total += e;
    }
    total = warp_sum(total);
    if (lane == 0) {
      const int at = split * s.heads.n_heads + first_head + g;
      parts.maxima[at] = top;
      parts.totals[at] = total;
      tops[g] = top;
      totals[g] = total;
    }
  }
  __syncthreads();

  Eight sum[kHeads] = {};
  for (int base = warp * kKeys; base < n_keys; base += kTogether * kTurn) {
    Eight v[kTogether] = {};
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      const int j = base + u * kTurn + lane / kLanes;
      if (j < n_keys && in_head) {
        v[u] = load_eight(values + static_cast<std::size_t>(j) * stride + d0);
      }
    }
#pragma unroll
    for (int u = 0; u < kTogether; ++u) {
      const int j = base + u * kTurn + lane / kLanes;
      if (j < n_keys && in_head) {
#pragma unroll
        for (int g = 0; g < kHeads; ++g) {
          const float p = g < n_here ? score[g * s.chunk + j] : 0.0F;
#pragma unroll
          for (int i = 0; i < kDims; ++i) {
            sum[g].v[i] = fmaf(p, v[u].v[i], sum[g].v[i]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      float v = sum[g].v[i];
#pragma unroll
      for (int step = kLanes; step < kWarp; step *= 2) {
        v += __shfl_xor_sync(0xFFFFFFFFU, v, step);
      }
      if (lane < kLanes && in_head) {
        partial[(warp * kHeads + g) * stride + d0 + i] = v;
      }
    }
  }
  __syncthreads();
  for (int i = tid; i < n_here * stride; i += kThreads) {
    float v = 0.0F;
    for (int w = 0; w < kWarps; ++w) {
      v += partial[w * kHeads * stride + i];
    }
    const int g = i / stride;
    const int d = i % stride;
    if (used_splits == 1) {  // nothing to combine; the same bits as below
      if (d < s.heads.head_dim) {
        s.out[(first_head + g) * s.heads.head_dim + d] = 1.0F / totals[g] * v;
      }
      if (d == 0) {
        s.lse[first_head + g] = tops[g] + logf(totals[g]);
      }
      continue;
    }
    parts.sums[(static_cast<std::size_t>(split) * s.heads.n_heads + first_head + g) * stride + d] =
        v;
  }
  if (used_splits == 1) {
    return;
  }

  // The last block of this group of heads combines.
  __threadfence();
  __syncthreads();
  if (tid == 0) {
    const unsigned before = atomicAdd(&s.arrived[blockIdx.y], 1U);
    last = before + 1 == static_cast<unsigned>(used_splits);
    if (last) {
      s.arrived[blockIdx.y] = 0;
    }
  }
  __syncthreads();
  if (!last) {
    return;
  }
  __threadfence();
  // Weight of every split: exp(max − M) / Σ; kept in shared memory as [kHeads][used_splits].
  float* weight = shared;
  for (int g = warp; g < n_here; g += kWarps) {
    const int h = first_head + g;
    float top = -INFINITY;
    for (int k = lane; k < used_splits; k += kWarp) {
      top = fmaxf(top, __ldcg(&parts.maxima[k * s.heads.n_heads + h]));
    }
    top = warp_max(top);
    float total = 0.0F;
    for (int k = lane; k < used_splits; k += kWarp) {
      const float e = expf(__ldcg(&parts.maxima[k * s.heads.n_heads + h]) - top);
      weight[g * used_splits + k] = e;
      total = fmaf(e, __ldcg(&parts.totals[k * s.heads.n_heads + h]), total);
    }
    total = warp_sum(total);
    const float inverse = 1.0F / total;
    for (int k = lane; k < used_splits; k += kWarp) {
      weight[g * used_splits + k] *= inverse;
    }
    if (lane == 0) {
      s.lse[h] = top + logf(total);
    }
  }
  __syncthreads();
  for (int i = tid; i < n_here * stride; i += kThreads) {
    const int g = i / stride;
    const int d = i % stride;
    if (d >= s.heads.head_dim) {
      continue;
    }
    float v = 0.0F;
#pragma unroll 8
    for (int k = 0; k < used_splits; ++k) {
      v = fmaf(weight[g * used_splits + k],
               __ldcg(&parts.sums[(static_cast<std::size_t>(k) * s.heads.n_heads + first_head + g) *
                                      stride +
                                  d]),
               v);
    }
    s.out[(first_head + g) * s.heads.head_dim + d] = v;
  }
}

/// Rows again, one block each: scores with the same arithmetic.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads)
    recompute_kernel(HeadLayout heads, LayerCache cache, float scale, int head, int first,
                     float* out, int out_stride) {
  constexpr int kKeys = kWarp / kLanes;
  __shared__ float scratch[kWarp];
  const int stride = heads.head_stride;
  const int position = first + static_cast<int>(blockIdx.x);
  float* probs = out + static_cast<std::size_t>(blockIdx.x) * out_stride;
  const int kv_head = head / (heads.n_heads / heads.n_kv_heads);
  const T* keys = static_cast<const T*>(cache.keys) +
                  static_cast<std::size_t>(kv_head) * heads.context * stride;
  const float* query =
      cache.queries + (static_cast<std::size_t>(head) * heads.context + position) * stride;
  const int tid = static_cast<int>(threadIdx.x);
  const int lane = tid % kWarp;
  const int d0 = lane % kLanes * kDims;
  const bool in_head = d0 < stride;
  const int kv_len = position + 1;
  Eight q{};
  if (in_head) {
    q = load_eight(query + d0);
  }
  float top = -INFINITY;
  for (int base = tid / kWarp * kKeys; base < kv_len; base += kWarps * kKeys) {
    const int j = base + lane / kLanes;
    Eight k{};
    if (j < kv_len && in_head) {
      k = load_eight(keys + static_cast<std::size_t>(j) * stride + d0);
    }
    const float score = dot_over_lanes<kLanes>(q, k) * scale;
    if (j < kv_len) {
      top = fmaxf(top, score);
      if (lane % kLanes == 0) {
        probs[j] = score;
      }
    }
  }
  top = block_max(top, scratch);
  float total = 0.0F;
  for (int j = tid; j < kv_len; j += kThreads) {
    total += expf(probs[j] - top);
  }
  total = block_sum(total, scratch);
  const float lse = top + logf(total);
  for (int j = tid; j < kv_len; j += kThreads) {
    probs[j] = expf(probs[j] - lse);
  }
}

int heads_at_once(const HeadLayout& heads) {
  const int per_kv = heads.n_heads / heads.n_kv_heads;
  return per_kv == 1 ? 1 : per_kv <= 4 ? 4 : 8;
}

template <class F>
Status for_lanes(int head_stride, F&& f) {
  if (head_stride <= 32) {
    return f.template operator()<4>();
  }
  if (head_stride <= 64) {
    return f.template operator()<8>();
  }
  if (head_stride <= 128) {
    return f.template operator()<16>();
  }
  if (head_stride <= 256) {
    return f.template operator()<32>();
  }
  return device_error("the CUDA backend handles heads of at most 256 dimensions");
}

template <class T, int kLanes>
Status launch_for(const Launch& on, const AttentionStage& s) {
  const auto run = [&]<int kHeads>() {
    const int groups = attention_groups(s.heads);
    const dim3 grid(static_cast<unsigned>(s.n_splits),
                    static_cast<unsigned>(s.heads.n_kv_heads * groups));
    const int floats = kHeads * s.chunk + kWarps * kHeads * s.heads.head_stride;
    const int combine = kHeads * s.n_splits;
    return launch(on, attention_kernel<T, kLanes, kHeads>, grid, kThreads,
                  static_cast<std::size_t>(floats > combine ? floats : combine) * sizeof(float), s);
  };
  switch (heads_at_once(s.heads)) {
    case 1:
      return run.template operator()<1>();
    case 4:
      return run.template operator()<4>();
    default:
      return run.template operator()<8>();
  }
}

}  // namespace

int attention_groups(const HeadLayout& heads) {
  const int per_kv = heads.n_heads / heads.n_kv_heads;
  const int at_once = heads_at_once(heads);
  return (per_kv + at_once - 1) / at_once;
}

std::size_t attention_parts_floats(const HeadLayout& heads, int n_splits) {
  return static_cast<std::size_t>(n_splits) * static_cast<std::size_t>(heads.n_heads) *
         static_cast<std::size_t>(heads.head_stride + 2);
}

Status launch_attention_decode(const Launch& on, const AttentionStage& stage) {
  return for_lanes(stage.heads.head_stride, [&]<int kLanes>() {
    return stage.heads.kv_f32 ? launch_for<float, kLanes>(on, stage)
                              : launch_for<__half, kLanes>(on, stage);
  });
}

Status launch_attention_recompute(const Launch& on, const HeadLayout& heads,
                                  const LayerCache& cache, float scale, int head, int first, int n,
                                  float* out, int stride) {
  const dim3 grid(static_cast<unsigned>(n));
  return for_lanes(heads.head_stride, [&]<int kLanes>() {
    return heads.kv_f32 ? launch(on, recompute_kernel<float, kLanes>, grid, kThreads, 0, heads,
                                 cache, scale, head, first, out, stride)
                        : launch(on, recompute_kernel<__half, kLanes>, grid, kThreads, 0, heads,
                                 cache, scale, head, first, out, stride);
  });
}

}  // namespace layerscope::kernels::cuda

// Decode stage 2: attention of one token over the cache, split over keys.
//
// A block takes a part of the keys of one KV head for up to kHeads query heads that share it. Every
// thread owns 8 dimensions of its keys: K, then V, come through a ring in shared memory that only
// this thread reads. All but the newest key are in the cache before the step begins, so they are
// asked for before the wait on the previous kernel; the newest one is loaded beside q after it.
// Scores stay in shared memory and are also written out once: with the log-sum-exp they are the
// captured attention row, p = exp(s − lse).
//
// Parts of one head meet in a cluster of at most 8 blocks, which read each other's shared memory
// and add in order of keys; where there are no clusters (compute capability < 9.0), or too many
// keys for one, the parts pass through device memory and the last block to arrive adds them, in the
// same order whichever block that is.
//
// Bytes: keys and values once. On an H200 (bench_gpu_kernels), depth 128: 4.2 µs for 8 KV heads of
// 128 (Llama-3-8B), 2.9 µs for 2 of 64 (Qwen2.5-0.5B), all latency. Depth 4,096, clusters of
// 8: 23.7 and 11.0 µs with 64 exchanges per 16 scores, 15.9 (23 % of the floor) and 8.2 µs with 15;
// alone that is faster than blocks that meet in memory (17.7 and 10.8 µs), within a step it is not.
#include <cooperative_groups.h>

#include "kernels/cuda/attention.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = kAttentionThreads;
constexpr int kWarps = kThreads / kWarp;

/// The parts of a cluster's blocks, added in order; every block finishes a part of the dimensions.
template <int kHeads>
__device__ void combine_in_cluster(const AttentionStage& s, const Share& share, const float* sums,
                                   const float* maxima, const float* totals) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  const auto cluster = cg::this_cluster();
  cluster.sync();
  const int n = static_cast<int>(cluster.num_blocks());
  const int stride = s.heads.head_stride;
  const int all = share.n_heads * stride;
  for (int i = share.split * kThreads + static_cast<int>(threadIdx.x); i < all; i += n * kThreads) {
    const int g = i / stride;
    const int d = i % stride;
    float part[kCluster], top[kCluster], total[kCluster];
    float highest = -INFINITY;
#pragma unroll
    for (int k = 0; k < kCluster; ++k) {
      if (k < n) {
        const auto rank = static_cast<unsigned>(k);
        part[k] = *cluster.map_shared_rank(sums + i, rank);
        top[k] = *cluster.map_shared_rank(maxima + g, rank);
        total[k] = *cluster.map_shared_rank(totals + g, rank);
        highest = fmaxf(highest, top[k]);
      }
    }
    float sum = 0.0F;
    float v = 0.0F;
#pragma unroll
    for (int k = 0; k < kCluster; ++k) {
      if (k < n) {
        const float weight = total[k] > 0.0F || isnan(total[k]) ? expf(top[k] - highest) : 0.0F;
        sum = fmaf(weight, total[k], sum);
        v = fmaf(weight, part[k], v);
      }
    }
    if (d < s.heads.head_dim) {
      s.out[(share.first_head + g) * s.heads.head_dim + d] = 1.0F / sum * v;
    }
    if (d == 0) {
      s.lse[share.first_head + g] = highest + logf(sum);
    }
  }
  cluster.sync();  // nobody leaves while its shared memory is being read
#endif
}

/// The parts in device memory; only the last block of a head group to arrive adds.
template <int kHeads>
__device__ void combine_in_memory(const AttentionStage& s, const Share& share, const Plan& plan,
                                  const float* sums, const float* maxima, const float* totals,
                                  float* weight) {
  __shared__ bool last;
  const int tid = static_cast<int>(threadIdx.x);
  const int stride = s.heads.head_stride;
  const Parts parts = find_parts(s.parts, plan.n_splits, s.heads.n_heads, stride);
  const int row = share.split * s.heads.n_heads + share.first_head;
  for (int i = tid; i < share.n_heads * stride; i += kThreads) {
    parts.sums[static_cast<std::size_t>(row) * stride + i] = sums[i];
  }
  if (tid < share.n_heads) {
    parts.maxima[row + tid] = maxima[tid];
    parts.totals[row + tid] = totals[tid];
  }
  __threadfence();
  __syncthreads();
  if (tid == 0) {
    const unsigned before = atomicAdd(&s.arrived[blockIdx.y], 1U);
    last = before + 1 == static_cast<unsigned>(share.used_splits);
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
  const int used = share.used_splits;
  for (int g = tid / kWarp; g < share.n_heads; g += kWarps) {
    const int lane = tid % kWarp;
    const int h = share.first_head + g;
    float top = -INFINITY;
    for (int k = lane; k < used; k += kWarp) {
      top = fmaxf(top, __ldcg(&parts.maxima[k * s.heads.n_heads + h]));
    }
    top = warp_max(top);
    float total = 0.0F;
    for (int k = lane; k < used; k += kWarp) {
      const float e = expf(__ldcg(&parts.maxima[k * s.heads.n_heads + h]) - top);
      weight[g * used + k] = e;
      total = fmaf(e, __ldcg(&parts.totals[k * s.heads.n_heads + h]), total);
    }
    total = warp_sum(total);
    for (int k = lane; k < used; k += kWarp) {
      weight[g * used + k] *= 1.0F / total;
    }
    if (lane == 0) {
      s.lse[h] = top + logf(total);
    }
  }
  __syncthreads();
  // 16 bytes a load, many under way: this is what the whole launch waits for.
  for (int i = 4 * tid; i < share.n_heads * stride; i += 4 * kThreads) {
    const int g = i / stride;
    const int d = i % stride;
    float v[4] = {};
#pragma unroll 16
    for (int k = 0; k < used; ++k) {
      const std::size_t at =
          (static_cast<std::size_t>(k) * s.heads.n_heads + share.first_head + g) * stride + d;
      const float4 part = __ldcg(reinterpret_cast<const float4*>(parts.sums + at));
      const float share_of = weight[g * used + k];
      v[0] = fmaf(share_of, part.x, v[0]);
      v[1] = fmaf(share_of, part.y, v[1]);
      v[2] = fmaf(share_of, part.z, v[2]);
      v[3] = fmaf(share_of, part.w, v[3]);
    }
    for (int c = 0; c < 4; ++c) {
      if (d + c < s.heads.head_dim) {
        s.out[(share.first_head + g) * s.heads.head_dim + d + c] = v[c];
      }
    }
  }
}

/// The values of one key for all heads of the block.
template <int kHeads>
struct alignas(kHeads * sizeof(float)) OfHeads {
  float v[kHeads];
};

/// How many of `n` sums a lane ends with, see sums_over_lanes.
__host__ __device__ constexpr int owned_sums(int lanes, int n) { return n > lanes ? n / lanes : 1; }

/// Sums n values over kLanes neighbouring lanes, each by the tree of dot_over_lanes (the same
/// bits), but spread: in every step a lane keeps half of the values and gives the other half away,
/// so n of 16 take 15 exchanges instead of 64. Returns the first of the owned_sums that the lane
/// ends with, in v[0] …; −1 where another lane has them.
template <int kLanes, int kN>
__device__ __forceinline__ int sums_over_lanes(float (&v)[kN], int lane) {
  int count = kN;
  int first = 0;
  bool owner = true;
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const bool upper = (lane & step) != 0;
    if (count > 1) {
      count /= 2;
#pragma unroll
      for (int i = 0; i < kN / 2; ++i) {
        if (i < count) {
          const float given = upper ? v[i] : v[i + count];
          const float kept = upper ? v[i + count] : v[i];
          v[i] = kept + __shfl_xor_sync(0xFFFFFFFFU, given, step);
        }
      }
      first += upper ? count : 0;
    } else {
      v[0] += __shfl_xor_sync(0xFFFFFFFFU, v[0], step);
      owner = owner && !upper;
    }
  }
  return owner ? first : -1;
}

/// Floats of shared memory behind the ring: scores [keys][kHeads], sums of warps
/// [kWarps][kHeads][stride + 1], sums [kHeads][stride]; the first two also hold split weights.
__host__ __device__ inline int scratch_floats(int at_once, int keys, int stride) {
  return at_once * ((keys + 3) / 4 * 4) + kWarps * at_once * (stride + 1) + at_once * stride;
}

template <class T, int kLanes, int kHeads>
__global__ void __launch_bounds__(kThreads, 2)
    attention_kernel(const __grid_constant__ AttentionStage s, const Plan plan) {
  using R = KvRing<T, kLanes>;
  extern __shared__ uint4 ring_memory[];
  __shared__ float maxima[kHeads];
  __shared__ float totals[kHeads];
  const int stride = s.heads.head_stride;
  float* score = reinterpret_cast<float*>(ring_memory) + R::kBytes / sizeof(float);
  float* partial = score + kHeads * ((plan.keys + 3) / 4 * 4);
  float* sums = partial + kWarps * kHeads * (stride + 1);
  const int tid = static_cast<int>(threadIdx.x);
  const int warp = tid / kWarp;
  const int lane = tid % kWarp;

  let_next_start();
  const Share share(s, plan, kHeads);
  R ring(ring_memory, s, share);
#pragma unroll
  for (int i = 0; i < R::kDepth; ++i) {
    ring.ask();
  }
  wait_for_previous();
  if (!plan.cluster && share.split >= share.used_splits) {
    return;
  }
  ring.load_newest();
  float* const rows = s.state->rows;
  const int row_stride = s.state->row_stride;
  Eight q[kHeads];
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
#pragma unroll
    for (int i = 0; i < kDims; i += 4) {
      float4 v{0.0F, 0.0F, 0.0F, 0.0F};
      if (g < share.n_heads) {
        v = load_four(s.q + (share.first_head + g) * s.heads.head_dim, (ring.dim + i) / 4,
                      s.heads.head_dim);
      }
      q[g].v[i] = v.x;
      q[g].v[i + 1] = v.y;
      q[g].v[i + 2] = v.z;
      q[g].v[i + 3] = v.w;
    }
  }

  for (int b = 0; b < ring.n_batches; ++b) {
    Eight k[kTurns];
    ring.take(b, false, k);
    float dot[kTurns * kHeads];
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
#pragma unroll
      for (int g = 0; g < kHeads; ++g) {
        dot[t * kHeads + g] = dot_of_lane(q[g], k[t]);
      }
    }
    const int first = sums_over_lanes<kLanes>(dot, lane);
    constexpr int kOwn = owned_sums(kLanes, kTurns * kHeads);
    if (first >= 0) {
#pragma unroll
      for (int i = 0; i < kOwn; ++i) {
        const int g = (first + i) % kHeads;
        const int j = ring.key(b, (first + i) / kHeads);
        if (j < share.n_keys) {
          const float value = dot[i] * s.scale;
          score[j * kHeads + g] = value;
          if (rows != nullptr && g < share.n_heads) {
            rows[static_cast<std::size_t>(s.first_row + share.first_head + g) * row_stride +
                 share.begin + j] = value;
          }
        }
      }
    }
  }
  __syncthreads();

  // Every warp finds the maxima; the exponentials are then spread over all threads. Heads that do
  // not exist have queries, and so scores, of 0.
  const auto at_key = [score](int j) { return reinterpret_cast<OfHeads<kHeads>*>(score) + j; };
  float top[kHeads];
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
    top[g] = -INFINITY;
  }
  for (int j = lane; j < share.n_keys; j += kWarp) {
    const OfHeads<kHeads> here = *at_key(j);
#pragma unroll
    for (int g = 0; g < kHeads; ++g) {
      top[g] = fmaxf(top[g], here.v[g]);
    }
  }
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
    top[g] = warp_max(top[g]);
  }
  __syncthreads();
  for (int j = tid; j < share.n_keys; j += kThreads) {
    OfHeads<kHeads> here = *at_key(j);
#pragma unroll
    for (int g = 0; g < kHeads; ++g) {
      here.v[g] = expf(here.v[g] - top[g]);
    }
    *at_key(j) = here;
  }
  __syncthreads();

  Eight sum[kHeads] = {};
  float total[kHeads] = {};
  for (int b = 0; b < ring.n_batches; ++b) {
    Eight v[kTurns];
    ring.take(b, true, v);
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      const int j = ring.key(b, t);
      if (j < share.n_keys) {
        const OfHeads<kHeads> here = *at_key(j);
#pragma unroll
        for (int g = 0; g < kHeads; ++g) {
          const float p = here.v[g];
          total[g] += p;
#pragma unroll
          for (int i = 0; i < kDims; ++i) {
            sum[g].v[i] = fmaf(p, v[t].v[i], sum[g].v[i]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int g = 0; g < kHeads; ++g) {
#pragma unroll
    for (int step = kLanes; step < kWarp; step *= 2) {
      total[g] += __shfl_xor_sync(0xFFFFFFFFU, total[g], step);
    }
    float* row = partial + (warp * kHeads + g) * (stride + 1);
    if (lane == 0) {
      row[stride] = total[g];
    }
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      float v = sum[g].v[i];
#pragma unroll
      for (int step = kLanes; step < kWarp; step *= 2) {
        v += __shfl_xor_sync(0xFFFFFFFFU, v, step);
      }
      if (lane < kLanes && ring.dim < stride) {
        row[ring.dim + i] = v;
      }
    }
  }
  __syncthreads();
  const bool alone = share.used_splits == 1;
  for (int i = tid; i < share.n_heads * stride; i += kThreads) {
    const int g = i / stride;
    const int d = i % stride;
    float v = 0.0F;
    float all = 0.0F;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float* row = partial + (w * kHeads + g) * (stride + 1);
      v += row[d];
      all += row[stride];
    }
    float highest = top[0];
#pragma unroll
    for (int k = 1; k < kHeads; ++k) {
      highest = k == g ? top[k] : highest;
    }
    if (alone) {
      if (d < s.heads.head_dim) {
        s.out[(share.first_head + g) * s.heads.head_dim + d] = 1.0F / all * v;
      }
      if (d == 0) {
        s.lse[share.first_head + g] = highest + logf(all);
      }
    } else {
      sums[i] = v;
      if (d == 0) {
        maxima[g] = highest;
        totals[g] = all;
      }
    }
  }
  if (alone) {
    return;
  }
  __syncthreads();
  if (plan.cluster) {
    combine_in_cluster<kHeads>(s, share, sums, maxima, totals);
  } else {
    combine_in_memory<kHeads>(s, share, plan, sums, maxima, totals, score);
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
    q = decode(load_raw(query + d0));
  }
  float top = -INFINITY;
  for (int base = tid / kWarp * kKeys; base < kv_len; base += kWarps * kKeys) {
    const int j = base + lane / kLanes;
    Eight k{};
    if (j < kv_len && in_head) {
      k = decode(load_raw(keys + static_cast<std::size_t>(j) * stride + d0));
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

/// Query heads per block: as many as share a KV head, as long as there are blocks enough.
int heads_at_once(const HeadLayout& heads, int n_splits) {
  const int per_kv = heads.n_heads / heads.n_kv_heads;
  int at_once = per_kv == 1 ? 1 : per_kv <= 3 ? 2 : 4;
  constexpr int kEnoughBlocks = 64;
  while (at_once > 1 &&
         n_splits * heads.n_kv_heads * ((per_kv + at_once - 1) / at_once) < kEnoughBlocks) {
    at_once /= 2;
  }
  return at_once;
}

/// Up to kInCluster keys in a cluster: a block for every kKeysPerBlock of them, 8 at most. More
/// keys are spread over kSplits blocks that meet in memory: they also start one by one while the
/// kernel before drains, where a cluster waits for room for all of it (Llama-3-8B F16 at 4,096: 216
/// instead of 205 tokens per second; Qwen2.5-0.5B the same; at 1,024 clusters are better by 0 to 7
/// %).
Plan make_plan(const AttentionStage& s) {
  constexpr int kInCluster = 2048;
  constexpr int kSplits = 32;
  constexpr int kMostKeys = 1024;
  const int most = s.chunk * s.n_splits;  // keys that the launch has to serve
  if (most > kInCluster) {
    int n = kSplits;
    while (most / n > kMostKeys) {
      n *= 2;
    }
    n = n < s.n_splits ? n : s.n_splits;
    return {n, (most + n - 1) / n, false};
  }
  int n = 1;
  while (n < kCluster && n * kKeysPerBlock < most) {
    n *= 2;
  }
  int device = 0;
  int clusters = 0;
  const bool known =
      cudaGetDevice(&device) == cudaSuccess &&
      cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, device) == cudaSuccess;
  if (!known || clusters == 0) {
    return {s.n_splits, s.chunk, false};
  }
  return {n, (most + n - 1) / n, true};
}

template <class T, int kLanes>
Status launch_for(const Launch& on, const AttentionStage& s) {
  const Plan plan = make_plan(s);
  const int per_kv = s.heads.n_heads / s.heads.n_kv_heads;
  const int at_once = heads_at_once(s.heads, plan.n_splits);
  const auto run = [&]<int kHeads>() {
    const int groups = (per_kv + kHeads - 1) / kHeads;
    const dim3 grid(static_cast<unsigned>(plan.n_splits),
                    static_cast<unsigned>(s.heads.n_kv_heads * groups));
    const int floats = scratch_floats(kHeads, plan.keys, s.heads.head_stride);
    const int combine = plan.cluster ? 0 : kHeads * plan.n_splits;
    return launch_clusters(
        on, plan.cluster ? plan.n_splits : 1, attention_kernel<T, kLanes, kHeads>, grid, kThreads,
        KvRing<T, kLanes>::kBytes +
            static_cast<std::size_t>(floats > combine ? floats : combine) * sizeof(float),
        s, plan);
  };
  switch (at_once) {
    case 1:
      return run.template operator()<1>();
    case 2:
      return run.template operator()<2>();
    default:
      return run.template operator()<4>();
  }
}

}  // namespace

int attention_groups(const HeadLayout& heads) { return heads.n_heads / heads.n_kv_heads; }

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

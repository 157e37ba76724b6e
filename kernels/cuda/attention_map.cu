// Two passes over tiles of 64 × 64 pairs: the log-sum-exp of every shown query over all its keys,
// then the shown pairs, pooled. A thread holds 4 × 4 pairs; slices of 32 dimensions of Q and K go
// through shared memory, so that each value is read from there once for four products.
//
// Arithmetic: head_dim · pairs · 2 for the first pass (all pairs below the diagonal) and as much
// for the shown part; float32 throughout, the accuracy of the decode path.
#include "kernels/cuda/attention_map.h"
#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kTile = 64;
constexpr int kSlice = 32;
constexpr int kThreads = 256;
constexpr int kPer = 4;  ///< pairs per thread in each direction

struct Tiles {
  float q[kTile][kSlice + 1];
  float k[kTile][kSlice + 1];
};

__device__ float as_float(float v) { return v; }
__device__ float as_float(__half v) { return __half2float(v); }

/// Cap and window; −∞ weighs nothing in either pass. `query` and `key` of score[0][0].
__device__ void apply_rules(const ScoreRules& rules, int query, int key,
                            float (&score)[kPer][kPer]) {
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      if (rules.cap > 0.0F) {
        score[i][j] = rules.cap * tanhf(score[i][j] / rules.cap);
      }
      if (rules.window > 0 && key + 16 * j <= query + i - rules.window) {
        score[i][j] = -INFINITY;
      }
    }
  }
}

/// Scaled scores of queries q0 + 4·ty … and keys k0 + tx, k0 + tx + 16, …; zero rows beyond the
/// ends.
template <class T>
__device__ void tile_scores(const AttentionMapStage& s, int q0, int n_queries, int k0, int n_keys,
                            Tiles& tiles, float (&score)[kPer][kPer]) {
  const int tid = static_cast<int>(threadIdx.x);
  const int tx = tid % 16;
  const int ty = tid / 16;
  const std::size_t stride = s.heads.head_stride;
  const int kv_head = s.head / (s.heads.n_heads / s.heads.n_kv_heads);
  const float* queries =
      s.cache.queries + static_cast<std::size_t>(s.head) * s.heads.context * stride;
  const T* keys = static_cast<const T*>(s.cache.keys) +
                  static_cast<std::size_t>(kv_head) * s.heads.context * stride;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      score[i][j] = 0.0F;
    }
  }
  for (int d0 = 0; d0 < s.heads.head_stride; d0 += kSlice) {
    __syncthreads();
    for (int i = tid; i < kTile * kSlice; i += kThreads) {
      const int row = i / kSlice;
      const int d = d0 + i % kSlice;
      const bool inside = d < s.heads.head_stride;
      tiles.q[row][i % kSlice] =
          inside && row < n_queries ? queries[(q0 + row) * stride + d] : 0.0F;
      tiles.k[row][i % kSlice] =
          inside && row < n_keys ? as_float(keys[(k0 + row) * stride + d]) : 0.0F;
    }
    __syncthreads();
#pragma unroll 8
    for (int d = 0; d < kSlice; ++d) {
      float q[kPer];
      float k[kPer];
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        q[i] = tiles.q[ty * kPer + i][d];
        k[i] = tiles.k[tx + 16 * i][d];
      }
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
#pragma unroll
        for (int j = 0; j < kPer; ++j) {
          score[i][j] = fmaf(q[i], k[j], score[i][j]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      score[i][j] *= s.scale;
    }
  }
  if (s.rules.cap > 0.0F || s.rules.window > 0) {
    apply_rules(s.rules, q0 + ty * kPer, k0 + tx, score);
  }
}

/// One block per 64 queries: running maximum and sum over all key tiles.
template <class T>
__global__ void __launch_bounds__(kThreads) lse_kernel(AttentionMapStage s) {
  __shared__ Tiles tiles;
  const int q0 = static_cast<int>(blockIdx.x) * kTile;
  const int n_queries = min(kTile, s.n_queries - q0);
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const int first = s.first_query + q0;
  const int last_key = first + n_queries;  // one past
  float top[kPer];
  float sum[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    top[i] = -INFINITY;
    sum[i] = 0.0F;
  }
  for (int k0 = 0; k0 < last_key; k0 += kTile) {
    float score[kPer][kPer];
    tile_scores<T>(s, first, n_queries, k0, min(kTile, last_key - k0), tiles, score);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int query = first + ty * kPer + i;
#pragma unroll
      for (int j = 0; j < kPer; ++j) {
        if (k0 + tx + 16 * j <= query) {
          const float v = score[i][j];
          if (v > top[i]) {
            sum[i] *= expf(top[i] - v);
            top[i] = v;
          }
          sum[i] += v == -INFINITY ? 0.0F : expf(v - top[i]);
        }
      }
    }
  }
  // The 16 threads of a query are neighbours in one half of a warp.
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    for (int step = 8; step > 0; step /= 2) {
      const float other_top = __shfl_xor_sync(0xFFFFFFFFU, top[i], step);
      const float other_sum = __shfl_xor_sync(0xFFFFFFFFU, sum[i], step);
      const float both = fmaxf(top[i], other_top);
      const float mine = top[i] == -INFINITY ? 0.0F : sum[i] * expf(top[i] - both);
      const float theirs = other_top == -INFINITY ? 0.0F : other_sum * expf(other_top - both);
      // A NaN sum must survive whichever maximum won.
      sum[i] = isnan(sum[i]) ? sum[i] : isnan(other_sum) ? other_sum : mine + theirs;
      top[i] = both;
    }
    const int row = ty * kPer + i;
    if (tx == 0 && row < n_queries) {
      s.lse[q0 + row] = top[i] + logf(sum[i]);
    }
  }
}

/// Order-preserving code of a float for atomicMax; NaN is the greatest, 0 means "no pair".
__device__ unsigned encode(float v) {
  if (isnan(v)) {
    return 0xFFFFFFFFU;
  }
  const unsigned bits = __float_as_uint(v);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

__device__ float decode(unsigned code) {
  if (code == 0U) {
    return kMapHole;
  }
  if (code == 0xFFFFFFFFU) {
    return NAN;
  }
  return __uint_as_float((code & 0x80000000U) != 0 ? code & 0x7FFFFFFFU : ~code);
}

__device__ float lse_of(const AttentionMapStage& s, int query) {
  return s.known_lse != nullptr ? s.known_lse[static_cast<std::size_t>(query) *
                                              static_cast<std::size_t>(s.known_stride)]
                                : s.lse[query];
}

/// One block per tile of shown pairs. Cells are codes until `decode_kernel`.
template <class T>
__global__ void __launch_bounds__(kThreads) pool_kernel(AttentionMapStage s) {
  __shared__ Tiles tiles;
  __shared__ unsigned best[kTile * kTile];  // [queries / bin][keys / bin] of the tile
  const int q0 = static_cast<int>(blockIdx.y) * kTile;
  const int k0 = static_cast<int>(blockIdx.x) * kTile;
  const int first = s.first_query + q0;
  const int n_queries = min(kTile, s.n_queries - q0);
  const int n_keys = min(kTile, s.n_keys - k0);
  if (s.first_key + k0 > first + n_queries - 1) {
    return;  // the whole tile lies after its queries
  }
  const int tid = static_cast<int>(threadIdx.x);
  const int across = max(1, kTile / s.bin);
  for (int i = tid; i < across * across; i += kThreads) {
    best[i] = 0U;
  }
  float score[kPer][kPer];
  tile_scores<T>(s, first, n_queries, s.first_key + k0, n_keys, tiles, score);  // synchronises
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int row = tid / 16 * kPer + i;
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      const int column = tid % 16 + 16 * j;
      if (row < n_queries && column < n_keys && s.first_key + k0 + column <= first + row) {
        const float v = s.scores ? score[i][j] : expf(score[i][j] - lse_of(s, q0 + row));
        atomicMax(&best[min(row / s.bin, across - 1) * across + min(column / s.bin, across - 1)],
                  encode(v));
      }
    }
  }
  __syncthreads();
  auto* cells = reinterpret_cast<unsigned*>(s.cells);
  for (int i = tid; i < across * across; i += kThreads) {
    const int row = q0 / s.bin + i / across;
    const int column = k0 / s.bin + i % across;
    if (best[i] != 0U) {
      atomicMax(&cells[static_cast<std::size_t>(row) * s.stride + column], best[i]);
    }
  }
}

__global__ void __launch_bounds__(kThreads) clear_kernel(unsigned* cells, int width, int stride) {
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    cells[static_cast<std::size_t>(blockIdx.x) * stride + i] = 0U;
  }
}

__global__ void __launch_bounds__(kThreads) decode_kernel(float* cells, int width, int stride) {
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    float& cell = cells[static_cast<std::size_t>(blockIdx.x) * stride + i];
    cell = decode(__float_as_uint(cell));
  }
}

__global__ void __launch_bounds__(kThreads)
    values_kernel(const float* cells, std::size_t n, float* out) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * kThreads;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += step) {
    out[i] = decode(__float_as_uint(cells[i]));
  }
}

template <class T>
Status add(const Launch& on, const AttentionMapStage& s) {
  const auto tiles = [](int n) { return static_cast<unsigned>((n + kTile - 1) / kTile); };
  if (!s.scores && s.known_lse == nullptr) {
    LS_CHECK(launch(on, lse_kernel<T>, dim3(tiles(s.n_queries)), kThreads, 0, s));
  }
  return launch(on, pool_kernel<T>, dim3(tiles(s.n_keys), tiles(s.n_queries)), kThreads, 0, s);
}

Launch alone(const Launch& on) {
  Launch plain = on;
  plain.overlap = false;  // the kernels here do not wait for one another
  return plain;
}

}  // namespace

Status launch_map_clear(const Launch& on, float* cells, std::size_t n) {
  LS_CUDA(cudaMemsetAsync(cells, 0, n * sizeof(float), on.stream));
  return {};
}

Status launch_map_add(const Launch& on, const AttentionMapStage& stage) {
  if (stage.n_queries <= 0 || stage.n_keys <= 0) {
    return {};
  }
  return stage.heads.kv_f32 ? add<float>(alone(on), stage) : add<__half>(alone(on), stage);
}

Status launch_map_values(const Launch& on, const float* cells, std::size_t n, float* out) {
  const std::size_t blocks = (n + kThreads - 1) / kThreads;
  const auto grid = static_cast<unsigned>(blocks < 512 ? blocks : 512);
  return n == 0 ? Status{}
                : launch(alone(on), values_kernel, dim3(grid), kThreads, 0, cells, n, out);
}

Status launch_attention_map(const Launch& on, const AttentionMapStage& stage) {
  if (stage.n_queries <= 0 || stage.n_keys <= 0) {
    return {};
  }
  const Launch plain = alone(on);
  const auto rows = static_cast<unsigned>((stage.n_queries + stage.bin - 1) / stage.bin);
  const int width = (stage.n_keys + stage.bin - 1) / stage.bin;
  LS_CHECK(launch(plain, clear_kernel, dim3(rows), kThreads, 0,
                  reinterpret_cast<unsigned*>(stage.cells), width, stage.stride));
  LS_CHECK(launch_map_add(plain, stage));
  return launch(plain, decode_kernel, dim3(rows), kThreads, 0, stage.cells, width, stage.stride);
}

}  // namespace layerscope::kernels::cuda

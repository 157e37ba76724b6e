// Prefill attention on the tensor cores without giving up float32: queries and probabilities as the
// sum of two F16 numbers (22 bits of mantissa), keys and values as the cache has them.
//
// Queries become two matrices, the second one 2¹¹ times as large, and two products are added. The
// probabilities are split where they stand: 8 floats become 8 high and 8 low F16 in the same 32
// bytes, so a row of scores turns into a row of twice as many F16; values are repeated in the same
// pattern, and one product gives the sum of both. Rejected: one product for the queries, too, with
// repeated keys: unscaled low parts lose bits of small queries.
//
// Float32 products without tensor cores took 90 µs each for 512 tokens of Llama-3-8B (5.8 ms of a
// pass of 32). On an H200 (ncu): split of the queries 6.7 µs, repeated values 3.1, products for the
// scores 14.7 + 20.4, for the sums 15.1.
#include "kernels/cuda/attention_pairs.h"

#include "kernels/cuda/pair.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kGroup = 8;               ///< values that are split together: 16 bytes of F16
constexpr float kQueryScale = 0x1p-4F;  ///< queries up to 1e6 fit, and small ones keep 22 bits
constexpr float kQueryLow = 0x1p11F;    ///< what the rounding of F16 leaves, made as large

unsigned blocks_for(std::size_t n) {
  const std::size_t blocks = (n + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
}

__device__ __forceinline__ void split(const float (&v)[kGroup], float scale, float low_scale,
                                      uint4& high, uint4& low) {
  __half h[kGroup];
  __half l[kGroup];
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    split_pair(v[i], scale, low_scale, h[i], l[i]);
  }
  high = {two_halves(h[0], h[1]), two_halves(h[2], h[3]), two_halves(h[4], h[5]),
          two_halves(h[6], h[7])};
  low = {two_halves(l[0], l[1]), two_halves(l[2], l[3]), two_halves(l[4], l[5]),
         two_halves(l[6], l[7])};
}

__global__ void __launch_bounds__(kThreads) split_queries_kernel(const PairStage s) {
  const int groups = s.heads.head_stride / kGroup;
  const std::size_t all = static_cast<std::size_t>(s.n) * s.heads.n_heads * groups;
  uint4* const high = static_cast<uint4*>(s.q_pair);
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < all;
       i += static_cast<std::size_t>(gridDim.x) * kThreads) {
    const float* row = s.q + i / groups * s.heads.head_dim;
    const int g = static_cast<int>(i % groups);
    const float4 a = load_four(row, 2 * g, s.heads.head_dim);
    const float4 b = load_four(row, 2 * g + 1, s.heads.head_dim);
    const float v[kGroup] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    split(v, kQueryScale, kQueryLow, high[i], high[all + i]);
  }
  if (blockIdx.x != 0) {
    return;
  }
  // Where the products find their matrices.
  const int per_kv = s.heads.n_heads / s.heads.n_kv_heads;
  const std::size_t stride = s.heads.head_stride;
  for (int h = static_cast<int>(threadIdx.x); h < s.heads.n_heads; h += kThreads) {
    const auto* q = static_cast<const __half*>(s.q_pair) + h * stride;
    const std::size_t kv = h / per_kv;
    const void** const to = s.pointers + h;
    const int n = s.heads.n_heads;
    to[kPairQueriesHigh * n] = q;
    to[kPairQueriesLow * n] = q + all * kGroup;
    to[kPairKeys * n] = static_cast<const __half*>(s.cache.keys) + kv * s.heads.context * stride;
    to[kPairScores * n] = s.scores + static_cast<std::size_t>(h) * s.n * s.score_stride;
    to[kPairValues * n] =
        static_cast<const __half*>(s.value_pair) + kv * 2 * s.score_stride * stride;
    to[kPairOut * n] = s.out + static_cast<std::size_t>(h) * s.heads.head_dim;
  }
}

__global__ void __launch_bounds__(kThreads) repeat_values_kernel(const PairStage s) {
  const int groups = s.heads.head_stride / kGroup;
  const std::size_t all = static_cast<std::size_t>(s.score_stride) * groups;
  const auto* from = static_cast<const uint4*>(s.cache.values) +
                     static_cast<std::size_t>(blockIdx.y) * s.heads.context * groups;
  uint4* const to = static_cast<uint4*>(s.value_pair) + blockIdx.y * 2 * all;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < all;
       i += static_cast<std::size_t>(gridDim.x) * kThreads) {
    const std::size_t key = i / groups;
    const uint4 v = key < static_cast<std::size_t>(s.n_keys) ? from[i] : uint4{};
    const std::size_t at = (key / kGroup * 2 * kGroup + key % kGroup) * groups + i % groups;
    to[at] = v;
    to[at + static_cast<std::size_t>(kGroup) * groups] = v;
  }
}

__global__ void __launch_bounds__(kThreads) split_rows_kernel(float* scores, std::size_t n) {
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += static_cast<std::size_t>(gridDim.x) * kThreads) {
    float4* const at = reinterpret_cast<float4*>(scores) + 2 * i;
    const float4 a = at[0];
    const float4 b = at[1];
    const float v[kGroup] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    auto* const to = reinterpret_cast<uint4*>(at);
    split(v, kPairRowScale, 1.0F, to[0], to[1]);
  }
}

}  // namespace

std::size_t pair_values_bytes(const HeadLayout& heads) {
  return 4 * static_cast<std::size_t>(heads.n_kv_heads) *
         static_cast<std::size_t>(pair_stride(heads.context)) *
         static_cast<std::size_t>(heads.head_stride);
}

std::size_t pair_queries_bytes(const HeadLayout& heads, int tokens) {
  return 4 * static_cast<std::size_t>(tokens) * static_cast<std::size_t>(heads.n_heads) *
         static_cast<std::size_t>(heads.head_stride);
}

Status launch_prepare_pairs(const Launch& on, const PairStage& s) {
  const auto groups = static_cast<std::size_t>(s.heads.head_stride / kGroup);
  const auto rows = static_cast<std::size_t>(s.n) * static_cast<std::size_t>(s.heads.n_heads);
  LS_CHECK(launch(on, split_queries_kernel, dim3(blocks_for(rows * groups)), kThreads, 0, s));
  const dim3 grid(blocks_for(static_cast<std::size_t>(s.score_stride) * groups),
                  static_cast<unsigned>(s.heads.n_kv_heads));
  return launch(on, repeat_values_kernel, grid, kThreads, 0, s);
}

Status pair_scores(Gemm& gemm, const PairStage& s, float scale) {
  Gemm::Pointers p;
  p.x = s.pointers + static_cast<std::size_t>(kPairQueriesLow) * s.heads.n_heads;
  p.x_stride = s.heads.n_heads * s.heads.head_stride;
  p.w = s.pointers + static_cast<std::size_t>(kPairKeys) * s.heads.n_heads;
  p.w_stride = s.heads.head_stride;
  p.out = s.pointers + static_cast<std::size_t>(kPairScores) * s.heads.n_heads;
  p.out_stride = s.score_stride;
  p.m = s.n;
  p.n = s.n_keys;
  p.k = s.heads.head_stride;
  p.batch = s.heads.n_heads;
  p.alpha = scale / (kQueryScale * kQueryLow);
  LS_CHECK(gemm.batched(p));
  p.x = s.pointers + static_cast<std::size_t>(kPairQueriesHigh) * s.heads.n_heads;
  p.alpha = scale / kQueryScale;
  p.beta = 1.0F;
  return gemm.batched(p);
}

Status pair_sums(const Launch& on, Gemm& gemm, const PairStage& s, bool split) {
  const std::size_t groups = static_cast<std::size_t>(s.heads.n_heads) *
                             static_cast<std::size_t>(s.n) *
                             static_cast<std::size_t>(s.score_stride / kGroup);
  if (!split) {
    LS_CHECK(
        launch(on, split_rows_kernel, dim3(blocks_for(groups)), kThreads, 0, s.scores, groups));
  }
  Gemm::Pointers p;
  p.x = s.pointers + static_cast<std::size_t>(kPairScores) * s.heads.n_heads;
  p.x_stride = 2 * s.score_stride;
  p.w = s.pointers + static_cast<std::size_t>(kPairValues) * s.heads.n_heads;
  p.w_stride = s.heads.head_stride;
  p.w_transposed = true;
  p.out = s.pointers + static_cast<std::size_t>(kPairOut) * s.heads.n_heads;
  p.out_stride = s.heads.n_heads * s.heads.head_dim;
  p.m = s.n;
  p.n = s.heads.head_dim;
  p.k = 2 * s.score_stride;
  p.batch = s.heads.n_heads;
  p.alpha = 1.0F / kPairRowScale;
  return gemm.batched(p);
}

}  // namespace layerscope::kernels::cuda

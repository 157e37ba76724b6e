// Decode stage 1: RMS norm, Q/K/V products with bias, rotation, append to the caches, one launch.
//
// A warp takes the two rows that rotation pairs, so a pair is rotated where it is made and no block
// has to wait for another. Bytes: the three matrices once; x comes from L2. On an
// H200, one launch after the other (bench_gpu_kernels): Llama-3-8B F16, 50.3 MB, 17.1 µs = 2.9 TB/s
// (63 % of 4.65); Q8_0, 26.8 MB, 13.2 µs (43 %).
#include "kernels/cuda/matvec.cuh"

namespace layerscope::kernels::cuda {
namespace {

/// Which two rows of which matrix a warp takes.
struct Pair {
  int which;  ///< 0 q, 1 k, 2 v
  int head;
  int first, second;  ///< dimensions within the head; second −1: none
  int angle;          ///< index of cos, sin; −1: not rotated
};

__device__ Pair find_pair(const QkvStage& s, int index, int per_head) {
  Pair p{};
  int head = index / per_head;
  const int i = index % per_head;
  p.which = head < s.heads.n_heads ? 0 : head < s.heads.n_heads + s.heads.n_kv_heads ? 1 : 2;
  p.head = p.which == 0   ? head
           : p.which == 1 ? head - s.heads.n_heads
                          : head - s.heads.n_heads - s.heads.n_kv_heads;
  const int n_rotated = s.rope.pairing == RopePairing::kNone ? 0 : s.rope.dim / 2;
  p.angle = -1;
  if (i < n_rotated) {
    p.angle = p.which == 2 ? -1 : i;
    const bool half = s.rope.pairing == RopePairing::kHalf;
    p.first = half ? i : 2 * i;
    p.second = half ? i + n_rotated : 2 * i + 1;
  } else {
    p.first = 2 * i;
    p.second = 2 * i + 1 < s.heads.head_dim ? 2 * i + 1 : -1;
  }
  return p;
}

__device__ void store_cache(void* cache, bool f32, std::size_t at, float value) {
  if (f32) {
    static_cast<float*>(cache)[at] = value;
  } else {
    static_cast<__half*>(cache)[at] = __float2half_rn(value);
  }
}

/// Bias, rotation and the writes of one pair; one lane runs it.
__device__ void finish_pair(const QkvStage& s, const Pair& p, int position, float a, float b) {
  const int row = p.head * s.heads.head_dim;
  const bool two = p.second >= 0;
  if (s.bias[p.which] != nullptr) {
    a += s.bias[p.which][row + p.first];
    b += two ? s.bias[p.which][row + p.second] : 0.0F;
  }
  s.raw[p.which][row + p.first] = a;
  if (two) {
    s.raw[p.which][row + p.second] = b;
  }
  if (p.angle >= 0) {
    const float cos = s.cos_sin[2 * p.angle];
    const float sin = s.cos_sin[2 * p.angle + 1];
    const float rotated = a * cos - b * sin;
    b = a * sin + b * cos;
    a = rotated;
  }
  if (p.which < 2) {
    s.rotated[p.which][row + p.first] = a;
    if (two) {
      s.rotated[p.which][row + p.second] = b;
    }
  }
  const std::size_t slot =
      (static_cast<std::size_t>(p.head) * s.heads.context + position) * s.heads.head_stride;
  if (p.which == 0) {
    s.cache.queries[slot + p.first] = a;
    if (two) {
      s.cache.queries[slot + p.second] = b;
    }
    return;
  }
  void* cache = p.which == 1 ? s.cache.keys : s.cache.values;
  store_cache(cache, s.heads.kv_f32, slot + p.first, a);
  if (two) {
    store_cache(cache, s.heads.kv_f32, slot + p.second, b);
  }
}

template <DType kType>
using Stream = RowStream<kType, 2, Piece<kType>::kDepth, 1>;

template <DType kType>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    qkv_kernel(const __grid_constant__ QkvStage s, int n_pairs, int per_head, int padded) {
  extern __shared__ float4 shared[];
  constexpr int kElements = Piece<kType>::kElements;
  let_next_start();
  const int turn = static_cast<int>(gridDim.x) * kMatvecWarps;
  int group = static_cast<int>(blockIdx.x) * kMatvecWarps + static_cast<int>(threadIdx.x) / kWarp;
  const auto source = [&](int which, int r) {
    const Pair p = find_pair(s, which, per_head);
    const int dim = r == 0 || p.second < 0 ? p.first : p.second;
    return RowOf{&s.w[p.which], p.head * s.heads.head_dim + dim};
  };
  Stream<kType> stream(shared + padded / 4, s.w[0].stride, group, turn, n_pairs, 0, source);
  wait_for_previous();
  stage_norm<kElements>(shared, s.x, s.norm_weight, s.w[0].cols, padded, s.eps, s.normed);
  for (; group < n_pairs; group += turn) {
    float sum[2] = {0.0F, 0.0F};
    stream.multiply(source, shared, padded / kElements, sum);
    if (threadIdx.x % kWarp == 0) {
      finish_pair(s, find_pair(s, group, per_head), s.state->position, sum[0], sum[1]);
    }
  }
}

}  // namespace

Status launch_qkv(const Launch& on, const QkvStage& stage) {
  const int rotated = stage.rope.pairing == RopePairing::kNone ? 0 : stage.rope.dim / 2;
  const int per_head = rotated + (stage.heads.head_dim - 2 * rotated + 1) / 2;
  const int n_pairs = (stage.heads.n_heads + 2 * stage.heads.n_kv_heads) * per_head;
  const int padded = shared_floats(stage.w[0].cols);
  const int blocks = even_blocks(n_pairs, kMatvecWarps, on.sm_count * 3);
  return for_dtype(stage.w[0].dtype, [&]<DType kType>() {
    return launch(on, qkv_kernel<kType>, dim3(static_cast<unsigned>(blocks)), kMatvecThreads,
                  static_cast<std::size_t>(padded) * sizeof(float) + Stream<kType>::kBytes, stage,
                  n_pairs, per_head, padded);
  });
}

}  // namespace layerscope::kernels::cuda

// Decode stage 1: RMS norm, Q/K/V products with bias, rotation, append to the caches, one launch.
//
// A warp takes the two rows that rotation pairs, so a pair is rotated where it is made and no block
// has to wait for another. Bytes: the three matrices once; x comes from L2. On an
// H200, one launch after the other (bench_gpu_kernels): Llama-3-8B F16, 50.3 MB, 17.1 µs = 2.9 TB/s
// (63 % of 4.65); Q8_0, 26.7 MB, 10.6 µs (54 %); Q6_K, 20.8 MB, 10.4 µs (43 %); Q4_K, 14.5 MB,
// 9.7 µs (32 %): one turn of every warp, so what counts is the way from the stage before to the
// end.
#include <algorithm>

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

/// Pairs [first, last) of matrices of one type; this block is number `block` of `n_blocks`.
template <DType kType>
__device__ void run_pairs(const QkvStage& s, int first, int last, int block, int n_blocks,
                          int per_head, int padded) {
  extern __shared__ float4 shared[];
  constexpr int kElements = Piece<kType>::kElements;
  const int turn = n_blocks * kMatvecWarps;
  int group = first + block * kMatvecWarps + static_cast<int>(threadIdx.x) / kWarp;
  const auto source = [&](int which, int r) {
    const Pair p = find_pair(s, which, per_head);
    const int dim = r == 0 || p.second < 0 ? p.first : p.second;
    return RowOf{&s.w[p.which], p.head * s.heads.head_dim + dim};
  };
  Stream<kType> stream(shared + padded / 4, s.w[find_pair(s, first, per_head).which].stride, group,
                       turn, last, 0, source);
  const NormWeight<kType> norm(s.norm_weight, s.w[0].cols);
  wait_for_previous();
  stage_norm<kType>(shared, s.x, norm, s.w[0].cols, padded, s.eps, s.normed);
  const int position = s.state->position;
  for (; group < last; group += turn) {
    float sum[2] = {0.0F, 0.0F};
    stream.multiply(source, shared, padded / kElements, sum);
    if (threadIdx.x % kWarp == 0) {
      finish_pair(s, find_pair(s, group, per_head), position, sum[0], sum[1]);
    }
  }
}

template <DType kType>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    qkv_kernel(const __grid_constant__ QkvStage s, int n_pairs, int per_head, int padded) {
  let_next_start();
  run_pairs<kType>(s, 0, n_pairs, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x),
                   per_head, padded);
}

/// Neighbouring matrices of one type, and the blocks that multiply them. Mixtures of block types
/// give v, or q and k, more bits in some layers.
struct Section {
  DType dtype = DType::kF32;
  int first_pair = 0, last_pair = 0;
  int first_block = 0, n_blocks = 0;
};
struct Sections {
  Section of[3];
  int n = 0;
};

/// Every block runs the code of its own section's type.
__global__ void __launch_bounds__(kMatvecThreads, 3)
    qkv_mixed_kernel(const __grid_constant__ QkvStage s, const __grid_constant__ Sections sections,
                     int per_head, int padded) {
  let_next_start();
  int at = 0;
  while (at + 1 < sections.n && static_cast<int>(blockIdx.x) >= sections.of[at + 1].first_block) {
    ++at;
  }
  const Section& own = sections.of[at];
  switch (own.dtype) {
#define LS_CASE(name)                                                                              \
  case DType::name:                                                                                \
    run_pairs<DType::name>(s, own.first_pair, own.last_pair,                                       \
                           static_cast<int>(blockIdx.x) - own.first_block, own.n_blocks, per_head, \
                           padded);                                                                \
    break;
    LS_PLANE_TYPES(LS_CASE)
#undef LS_CASE
    default:
      break;
  }
}

/// The fewest turns with which all blocks are resident at once; every section has the same number.
Sections divide(const QkvStage& stage, int per_head, int resident) {
  Sections s;
  int pair = 0;
  const int n_heads[3] = {stage.heads.n_heads, stage.heads.n_kv_heads, stage.heads.n_kv_heads};
  for (int m = 0; m < 3; ++m) {
    if (s.n == 0 || s.of[s.n - 1].dtype != stage.w[m].dtype) {
      s.of[s.n++] = {stage.w[m].dtype, pair, pair};
    }
    pair += n_heads[m] * per_head;
    s.of[s.n - 1].last_pair = pair;
  }
  for (int turns = 1;; ++turns) {
    int blocks = 0;
    for (int i = 0; i < s.n; ++i) {
      const int per_block = kMatvecWarps * turns;
      s.of[i].first_block = blocks;
      s.of[i].n_blocks = (s.of[i].last_pair - s.of[i].first_pair + per_block - 1) / per_block;
      blocks += s.of[i].n_blocks;
    }
    if (blocks <= resident || blocks <= s.n) {
      return s;
    }
  }
}

Status launch_mixed(const Launch& on, const QkvStage& stage, int per_head, int padded) {
  const Sections sections = divide(stage, per_head, on.sm_count * 3);
  std::size_t ring = 0;
  for (int i = 0; i < sections.n; ++i) {
    const bool known = for_plane_dtype(
        sections.of[i].dtype, [&]<DType kType>() { ring = std::max(ring, Stream<kType>::kBytes); });
    if (!known) {
      return internal_error("q, k and v of such different types cannot be multiplied together");
    }
  }
  const Section& last = sections.of[sections.n - 1];
  return launch(on, qkv_mixed_kernel, dim3(static_cast<unsigned>(last.first_block + last.n_blocks)),
                kMatvecThreads, static_cast<std::size_t>(padded) * sizeof(float) + ring, stage,
                sections, per_head, padded);
}

}  // namespace

Status launch_qkv(const Launch& on, const QkvStage& stage) {
  const int rotated = stage.rope.pairing == RopePairing::kNone ? 0 : stage.rope.dim / 2;
  const int per_head = rotated + (stage.heads.head_dim - 2 * rotated + 1) / 2;
  const int n_pairs = (stage.heads.n_heads + 2 * stage.heads.n_kv_heads) * per_head;
  const int padded = shared_floats(stage.w[0].cols);
  const DType dtype = stage.w[0].dtype;
  if (stage.w[1].dtype != dtype || stage.w[2].dtype != dtype) {
    return launch_mixed(on, stage, per_head, padded);
  }
  const int blocks = even_blocks(n_pairs, kMatvecWarps, on.sm_count * 3);
  return for_dtype(dtype, [&]<DType kType>() {
    return launch(on, qkv_kernel<kType>, dim3(static_cast<unsigned>(blocks)), kMatvecThreads,
                  static_cast<std::size_t>(padded) * sizeof(float) + Stream<kType>::kBytes, stage,
                  n_pairs, per_head, padded);
  });
}

}  // namespace layerscope::kernels::cuda

// The one place that knows how weights of each type multiply on the GPU.
//
// Two kinds. Plain types (float32, binary16, bfloat16) are read as they are and multiplied with
// float32 activations: `Piece` below. Block types stand in the planes of block_planes.h, and their
// codes are multiplied with activations in fixed point by dp4a (four products an instruction):
// BlockPiece, one definition for all of them.
//
// To add a block type: its BlockPlanes and its name in LS_PLANE_TYPES (block_planes.h), and
// `Piece<kType>` below. The kernels of the decode stages need no change.
#pragma once

#include "kernels/cuda/block_planes.h"
#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {

#ifdef __CUDACC__

/// 16 bytes of a weight row. kDepth: steps of 16 bytes per lane and row in the ring of matvec.cuh;
/// measured, for a deeper ring also means fewer blocks and more requests than memory serves well.
template <DType kType>
struct Piece;

template <>
struct Piece<DType::kF32> {
  static constexpr int kElements = 4;
  static constexpr bool kBlocks = false;
  static constexpr int kDepth = 6;
  /// sum + Σ weight · x, in order.
  __device__ static float dot(const uint4& bits, const float* x, float sum) {
    sum = fmaf(__uint_as_float(bits.x), x[0], sum);
    sum = fmaf(__uint_as_float(bits.y), x[1], sum);
    sum = fmaf(__uint_as_float(bits.z), x[2], sum);
    return fmaf(__uint_as_float(bits.w), x[3], sum);
  }
};

template <>
struct Piece<DType::kF16> {
  static constexpr int kElements = 8;
  static constexpr bool kBlocks = false;
  static constexpr int kDepth = 6;
  __device__ static float dot(const uint4& bits, const float* x, float sum) {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 w = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
      sum = fmaf(w.x, x[2 * i], sum);
      sum = fmaf(w.y, x[2 * i + 1], sum);
    }
    return sum;
  }
};

template <>
struct Piece<DType::kBF16> {
  static constexpr int kElements = 8;
  static constexpr bool kBlocks = false;
  static constexpr int kDepth = 6;
  __device__ static float dot(const uint4& bits, const float* x, float sum) {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum = fmaf(__uint_as_float(words[i] << 16U), x[2 * i], sum);
      sum = fmaf(__uint_as_float(words[i] & 0xFFFF0000U), x[2 * i + 1], sum);
    }
    return sum;
  }
};

/// Σ of four products of unsigned codes with signed bytes, added to `sum`.
__device__ __forceinline__ int dot_four(std::uint32_t codes, std::uint32_t digits, int sum) {
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(codes), "r"(digits), "r"(sum));
  return sum;
}

/// The activations that meet one piece: words of digits 0, 1, 2 and what a block of 32 shares.
template <int kElements>
struct Digits {
  std::uint32_t of[3][kElements / 4];
  float step;    ///< value of digit 0
  float sum[2];  ///< Σx of the piece; of Q6_K, of either half
};

/// Exact sums of code · digit in 32 bits, then float32: three dp4a for four products. A layer of
/// Llama-3-8B on an H200: Q8_0 82.1 µs (84 with three float32 instructions per weight, as before),
/// Q6_K 73.6, Q5_K 70.5, Q5_0 65.2, Q4_K 64.4, Q4_0 58.1. A run-time index into the sums put them
/// into local memory and made Q8_0 take 201.
template <DType kType, int kRingDepth>
struct BlockPiece : BlockPlanes<kType> {
  using B = BlockPlanes<kType>;
  static constexpr bool kBlocks = true;
  static constexpr int kDepth = kRingDepth;

  /// sum + Σ weight · x.
  __device__ static float dot(const uint4& bits, const std::uint32_t* side, int piece,
                              const Digits<B::kElements>& x, float sum) {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
    int total[B::kHalves][3] = {};
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const CodeWords codes = B::codes(words[w], side, w);
#pragma unroll
      for (int d = 0; d < 3; ++d) {
        total[0][d] = dot_four(codes.low, x.of[d][w], total[0][d]);
        if constexpr (B::kElements == 32) {
          int& high = total[B::kHalves - 1][d];
          high = dot_four(codes.high, x.of[d][4 + w], high);
        }
      }
    }
#pragma unroll
    for (int h = 0; h < B::kHalves; ++h) {
      const BlockScale s = B::scale(side, piece, h);
      const float products = fmaf(static_cast<float>(total[h][2] * 256 + total[h][1]), 256.0F,
                                  static_cast<float>(total[h][0]));
      sum = fmaf(s.factor * x.step, products, sum);
      if constexpr (B::kCentre == 0) {
        sum = fmaf(-s.offset, x.sum[h], sum);
      } else {  // no such type has a minimum
        sum = fmaf(s.factor * -static_cast<float>(B::kCentre), x.sum[h], sum);
      }
    }
    return sum;
  }
};

template <>
struct Piece<DType::kQ4_0> : BlockPiece<DType::kQ4_0, 4> {};
template <>
struct Piece<DType::kQ4_1> : BlockPiece<DType::kQ4_1, 4> {};
template <>
struct Piece<DType::kQ5_0> : BlockPiece<DType::kQ5_0, 4> {};
template <>
struct Piece<DType::kQ5_1> : BlockPiece<DType::kQ5_1, 4> {};
template <>
struct Piece<DType::kQ8_0> : BlockPiece<DType::kQ8_0, 4> {};
template <>
struct Piece<DType::kQ4_K> : BlockPiece<DType::kQ4_K, 4> {};
template <>
struct Piece<DType::kQ5_K> : BlockPiece<DType::kQ5_K, 4> {};
template <>
struct Piece<DType::kQ6_K> : BlockPiece<DType::kQ6_K, 3> {};

/// One weight as float32, for rows that are read whole.
template <DType kType>
__device__ __forceinline__ float weight_at(const DeviceMatrix& m, int row, int col) {
  const std::size_t at = static_cast<std::size_t>(row) * m.stride + static_cast<std::size_t>(col);
  if constexpr (kType == DType::kF32) {
    return static_cast<const float*>(m.data)[at];
  } else if constexpr (kType == DType::kF16) {
    return __half2float(static_cast<const __half*>(m.data)[at]);
  } else if constexpr (kType == DType::kBF16) {
    return __bfloat162float(static_cast<const __nv_bfloat16*>(m.data)[at]);
  } else {
    using B = BlockPlanes<kType>;
    const int n_pieces = m.stride / B::kElements;
    const int piece = col / B::kElements;
    const int i = col % B::kElements;
    const auto* words = static_cast<const std::uint32_t*>(m.data) +
                        (static_cast<std::size_t>(row) * n_pieces + piece) * 4;
    std::uint32_t side[kSideWords<kType>];
    read_sides<kType>(static_cast<const std::uint32_t*>(m.scales) +
                          static_cast<std::size_t>(row) * side_offset<kType>(n_pieces, B::kSides),
                      n_pieces, piece, side);
    const int w = i % 16 / 4;
    const CodeWords codes = B::codes(words[w], side, w);
    const std::uint32_t four = i < 16 ? codes.low : codes.high;
    return plane_value<kType>(four >> (i % 4 * 8) & 0xFFU,
                              B::scale(side, piece, i / 16 % B::kHalves));
  }
}

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

// The one place that knows how weights of each type stand in device memory and how they multiply.
//
// To add a block type (say Q4_0):
//   1. `padded_cols`, `plane_bytes`, `scale_bytes` in convert.cu: its planes. A row is a sequence
//   of
//      16-byte pieces of codes; beside it stands a row of 32-bit words of scales, one word for
//      every kSharers neighbouring pieces (kSharers 0: no words), padded to 16 bytes. Repacking the
//      file's blocks into that must be a bijection.
//   2. `Piece<kType>` below: kElements, kSharers, kDepth and `dot`. Elements of a piece must be
//      neighbours. kDepth: steps of 16 bytes per lane and row in the ring of matvec.cuh; measured,
//      for a deeper ring also means fewer blocks and more requests than memory serves well.
//   3. `weight_at` below, for rows that are read whole (embedding, dequantising).
//   4. `for_dtype` in device.cuh, and the type in the parameter list of tests/gpu/ops_test.cpp.
// The kernels of the decode stages need no change.
#pragma once

#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {

#ifdef __CUDACC__

/// Words of scales from one row to the next.
__device__ __forceinline__ int words_per_row(int n_pieces, int sharers) {
  return (n_pieces + sharers * 4 - 1) / (sharers * 4) * 4;
}

/// 16 bytes of a weight row.
template <DType kType>
struct Piece;

template <>
struct Piece<DType::kF32> {
  static constexpr int kElements = 4;
  static constexpr int kSharers = 0;
  static constexpr int kDepth = 6;
  /// sum + Σ weight · x, in order.
  __device__ static float dot(const uint4& bits, unsigned, int, const float* x, float sum) {
    sum = fmaf(__uint_as_float(bits.x), x[0], sum);
    sum = fmaf(__uint_as_float(bits.y), x[1], sum);
    sum = fmaf(__uint_as_float(bits.z), x[2], sum);
    return fmaf(__uint_as_float(bits.w), x[3], sum);
  }
};

template <>
struct Piece<DType::kF16> {
  static constexpr int kElements = 8;
  static constexpr int kSharers = 0;
  static constexpr int kDepth = 6;
  __device__ static float dot(const uint4& bits, unsigned, int, const float* x, float sum) {
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
  static constexpr int kSharers = 0;
  static constexpr int kDepth = 6;
  __device__ static float dot(const uint4& bits, unsigned, int, const float* x, float sum) {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum = fmaf(__uint_as_float(words[i] << 16U), x[2 * i], sum);
      sum = fmaf(__uint_as_float(words[i] & 0xFFFF0000U), x[2 * i + 1], sum);
    }
    return sum;
  }
};

/// Codes are stored + 128, as unsigned bytes: a byte in the last bits of 2²³ is a float without a
/// conversion (integer to float runs at half the rate and needs the byte extracted first). Three
/// instructions per weight: permute, subtract 2²³ + 128, multiply-add. Folding the subtraction into
/// Σx would cancel 17 of 24 bits.
template <>
struct Piece<DType::kQ8_0> {
  static constexpr int kElements = 16;
  static constexpr int kDepth = 4;    ///< Llama-3-8B, a layer: 86.4 µs; with 6 100.3, with 3 100.0
  static constexpr int kSharers = 4;  ///< a word holds the scales of two blocks, of two pieces each
  __device__ static float dot(const uint4& bits, unsigned scales, int piece, const float* x,
                              float sum) {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
    float part = 0.0F;
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      const unsigned code = __byte_perm(words[i / 4], 0x4B000000U, 0x7440U + i % 4);
      part = fmaf(__uint_as_float(code) - 8388736.0F, x[i], part);
    }
    return fmaf(half_bits_to_float(scales >> (piece % 4 / 2 * 16) & 0xFFFFU), part, sum);
  }
};

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
    const std::size_t scale_row = static_cast<std::size_t>((m.stride / 32 + 7) / 8 * 8);
    const float scale = half_bits_to_float(static_cast<const unsigned short*>(
        m.scales)[static_cast<std::size_t>(row) * scale_row + static_cast<unsigned>(col) / 32]);
    return scale *
           static_cast<float>(static_cast<int>(static_cast<const std::uint8_t*>(m.data)[at]) - 128);
  }
}

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

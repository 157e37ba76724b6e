// The input of a product in shared memory: as it is or normed, as float32 or as digits.
//
// Every block of a decode stage makes it again from the row in L2; weights are on their way
// meanwhile (matvec.cuh).
#pragma once

#include "kernels/cuda/piece.cuh"

namespace layerscope::kernels::cuda {

inline constexpr int kMatvecThreads = 256;
inline constexpr int kMatvecWarps = kMatvecThreads / kWarp;

/// Floats of x in shared memory: whole pieces of the widest kind.
inline int shared_floats(int cols) { return (cols + 31) / 32 * 32; }

#ifdef __CUDACC__

// x in shared memory: a lane reads the kElements of its piece as float4; the first float4 of all
// pieces stand together, then all second ones, …: neighbouring lanes then read neighbouring 16
// bytes, without bank conflicts (4-way ones made Q8_0 slower than F16).

/// Where the i-th float4 of x stands.
template <int kElements>
__device__ __forceinline__ int place_of_four(int i, int padded) {
  constexpr int kFours = kElements / 4;
  return i % kFours * (padded / kElements) + i / kFours;
}

// For block types x stands as digits (block_planes.h) in the same order: all first 16 elements of
// pieces with digit 0, all second 16, then digits 1 and 2, then {step, Σx} per piece, or {step, Σx
// of 16, Σx of 16, 0} where halves have scales of their own. At most 3.5 bytes an element.

/// Turns elements 4i … 4i + 3 of the block that eight neighbouring lanes hold into digits. All
/// lanes call; `inside`: whether there are such elements.
template <DType kType>
__device__ __forceinline__ void stage_digits(float4* x, const float4& v, int i, int padded,
                                             bool inside) {
  constexpr unsigned kAll = 0xFFFFFFFFU;
  const auto magnitude = [](float f) { return __float_as_uint(f) & 0x7FFFFFFFU; };
  // Ordered as their bits, and a NaN is above all of them.
  unsigned top = max(max(magnitude(v.x), magnitude(v.y)), max(magnitude(v.z), magnitude(v.w)));
  top = max(top, __shfl_xor_sync(kAll, top, 1));
  top = max(top, __shfl_xor_sync(kAll, top, 2));
  top = max(top, __shfl_xor_sync(kAll, top, 4));
  const DigitScale scale = digit_scale(top);
  const std::uint32_t fixed[4] = {fixed_point(v.x, scale.inverse), fixed_point(v.y, scale.inverse),
                                  fixed_point(v.z, scale.inverse), fixed_point(v.w, scale.inverse)};
  int total = static_cast<int>(fixed[0] - kFixedZero) + static_cast<int>(fixed[1] - kFixedZero) +
              static_cast<int>(fixed[2] - kFixedZero) + static_cast<int>(fixed[3] - kFixedZero);
  total += __shfl_xor_sync(kAll, total, 1);
  total += __shfl_xor_sync(kAll, total, 2);
  const int other = __shfl_xor_sync(kAll, total, 4);
  if (!inside) {
    return;
  }
  std::uint32_t digits[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    digits[k] = digits_of(fixed[k]);
  }
  constexpr int kElements = Piece<kType>::kElements;
  constexpr int kFours = kElements / 4;
  constexpr int kChunks = kElements / 16;
  const int x_pieces = padded / kElements;
  const int chunk = i % kFours / 4;
  auto* words = reinterpret_cast<std::uint32_t*>(x);
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    const unsigned pick = static_cast<unsigned>(d) * 0x11U + 0x40U;  // byte d of both words
    const std::uint32_t first = __byte_perm(digits[0], digits[1], pick);
    const std::uint32_t second = __byte_perm(digits[2], digits[3], pick);
    words[((d * kChunks + chunk) * x_pieces + i / kFours) * 4 + i % 4] =
        __byte_perm(first, second, 0x5410U);
  }
  float4* shared = x + 3 * kChunks * x_pieces;
  if constexpr (Piece<kType>::kHalves == 2) {
    if (i % 8 == 0) {
      shared[i / 8] = {scale.step, scale.step * static_cast<float>(total),
                       scale.step * static_cast<float>(other), 0.0F};
    }
  } else if (i % kFours == 0) {
    const int all = kElements == 32 ? total + other : total;
    reinterpret_cast<float2*>(shared)[i / kFours] = {scale.step,
                                                     scale.step * static_cast<float>(all)};
  }
}

/// x = values, zero beyond `cols`. All threads call; ends with a barrier.
template <DType kType>
__device__ __forceinline__ void stage_plain(float4* x, const float* values, int cols, int padded) {
  if constexpr (Piece<kType>::kBlocks) {
#pragma unroll 4
    for (int base = 0; base < padded / 4; base += kMatvecThreads) {
      const int i = base + static_cast<int>(threadIdx.x);
      const bool inside = i < padded / 4;
      const float4 v = inside ? load_four(values, i, cols) : float4{};
      stage_digits<kType>(x, v, i, padded, inside);
    }
  } else {
    constexpr int kElements = Piece<kType>::kElements;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < padded / 4; i += kMatvecThreads) {
      x[place_of_four<kElements>(i, padded)] = load_four(values, i, cols);
    }
  }
  __syncthreads();
}

/// Elements of the norm's weight that a thread will need, on their way before the wait on the
/// previous kernel. Rows of up to 4,096 stay in registers whole.
template <DType kType>
class NormWeight {
 public:
  static constexpr int kKept = Piece<kType>::kBlocks ? 4 : 1;

  __device__ NormWeight(const float* weight, int cols) : weight_(weight), cols_(cols) {
    if constexpr (Piece<kType>::kBlocks) {
#pragma unroll
      for (int k = 0; k < kKept; ++k) {
        const int i = k * kMatvecThreads + static_cast<int>(threadIdx.x);
        kept_[k] = 4 * i < cols ? load_four(weight, i, cols) : float4{};
      }
    }
  }
  [[nodiscard]] __device__ float4 kept(int k) const { return kept_[k]; }
  [[nodiscard]] __device__ float4 at(int i) const { return load_four(weight_, i, cols_); }

 private:
  const float* weight_;
  int cols_;
  float4 kept_[kKept];
};

/// x = rms_norm(values) · weight, zero beyond `cols`; every block computes it again, which is
/// cheaper than a launch of its own. Block 0 also writes it to `normed`.
template <DType kType>
__device__ __forceinline__ void stage_norm(float4* x, const float* values,
                                           const NormWeight<kType>& weight, int cols, int padded,
                                           float eps, float* normed) {
  __shared__ float scratch[kWarp];
  constexpr int kElements = Piece<kType>::kElements;
  constexpr bool kBlocks = Piece<kType>::kBlocks;
  constexpr int kKept = NormWeight<kType>::kKept;
  float4 kept[kKept];
  float squares = 0.0F;
  const auto add = [&squares](const float4& v) {
    squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
  };
  const int tid = static_cast<int>(threadIdx.x);
  if constexpr (kBlocks) {
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      const int i = k * kMatvecThreads + tid;
      kept[k] = i < padded / 4 ? load_four(values, i, cols) : float4{};
    }
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      add(kept[k]);
    }
    for (int i = kKept * kMatvecThreads + tid; i < padded / 4; i += kMatvecThreads) {
      add(load_four(values, i, cols));
    }
  } else {
#pragma unroll 4
    for (int i = tid; i < padded / 4; i += kMatvecThreads) {
      const float4 v = load_four(values, i, cols);
      x[place_of_four<kElements>(i, padded)] = v;
      add(v);
    }
  }
  const float mean = block_sum(squares, scratch) / static_cast<float>(cols);
  const float scale = 1.0F / sqrtf(mean + eps);
  const auto scaled = [&](int i, const float4& v, const float4& w) {
    const float4 out = {v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w};
    if (blockIdx.x == 0 && normed != nullptr) {
      const float four[4] = {out.x, out.y, out.z, out.w};
      for (int k = 0; k < 4 && 4 * i + k < cols; ++k) {
        normed[4 * i + k] = four[k];
      }
    }
    return out;
  };
  if constexpr (kBlocks) {
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      const int i = k * kMatvecThreads + tid;
      if (k * kMatvecThreads < padded / 4) {  // the same for all lanes
        const bool inside = i < padded / 4;
        const float4 v = inside ? scaled(i, kept[k], weight.kept(k)) : float4{};
        stage_digits<kType>(x, v, i, padded, inside);
      }
    }
    for (int base = kKept * kMatvecThreads; base < padded / 4; base += kMatvecThreads) {
      const int i = base + tid;
      const bool inside = i < padded / 4;
      const float4 v = inside ? scaled(i, load_four(values, i, cols), weight.at(i)) : float4{};
      stage_digits<kType>(x, v, i, padded, inside);
    }
  } else {
#pragma unroll 4
    for (int i = tid; i < padded / 4; i += kMatvecThreads) {
      float4& place = x[place_of_four<kElements>(i, padded)];
      place = scaled(i, place, weight.at(i));
    }
  }
  __syncthreads();
}

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

// What kernels share: launching, reductions, weight and cache loads. Device code only.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/check.h"
#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

inline constexpr int kWarp = 32;

/// Launches `kernel`; with `on.overlap` as a programmatic dependent of the launch before it.
template <class... Parameters, class... Arguments>
Status launch(const Launch& on, void (*kernel)(Parameters...), dim3 grid, int block,
              std::size_t shared, Arguments... arguments) {
  if (shared > 48U * 1024U) {
    LS_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared)));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(block));
  config.dynamicSmemBytes = shared;
  config.stream = on.stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = on.overlap ? 1 : 0;
  LS_CUDA(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
  return {};
}

#ifdef __CUDACC__

/// Waits until the launch before this one has finished and its writes are visible. Everything that
/// another kernel of the step writes must be read after it; weights may be read before.
__device__ __forceinline__ void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

/// Lets the next launch start; it still waits for this one to finish in wait_for_previous.
__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__device__ __forceinline__ float warp_sum(float v) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    v += __shfl_xor_sync(0xFFFFFFFFU, v, step);
  }
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFU, v, step));
  }
  return v;
}

/// Sum over the block, the same bits in every thread. `scratch` holds 32 values; all threads call.
template <class T>
__device__ __forceinline__ T block_sum(T v, T* scratch) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    v += __shfl_xor_sync(0xFFFFFFFFU, v, step);
  }
  const int warps = (static_cast<int>(blockDim.x) + kWarp - 1) / kWarp;
  __syncthreads();  // scratch may still be read from a call before
  if (threadIdx.x % kWarp == 0) {
    scratch[threadIdx.x / kWarp] = v;
  }
  __syncthreads();
  T total = scratch[0];
  for (int w = 1; w < warps; ++w) {
    total += scratch[w];
  }
  return total;
}

__device__ __forceinline__ float block_max(float v, float* scratch) {
  v = warp_max(v);
  const int warps = (static_cast<int>(blockDim.x) + kWarp - 1) / kWarp;
  __syncthreads();
  if (threadIdx.x % kWarp == 0) {
    scratch[threadIdx.x / kWarp] = v;
  }
  __syncthreads();
  float top = scratch[0];
  for (int w = 1; w < warps; ++w) {
    top = fmaxf(top, scratch[w]);
  }
  return top;
}

__device__ __forceinline__ float half_bits_to_float(std::uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

/// One 16-byte piece of a weight row and its product with the matching piece of x.
template <DType kType>
struct Piece;

/// 16 bytes that are read once: past L1.
__device__ __forceinline__ uint4 load_stream(const void* p) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(p));
  return v;
}

template <>
struct Piece<DType::kF32> {
  static constexpr int kElements = 4;
  uint4 bits{};
  __device__ static Piece load(const DeviceMatrix& m, int row, int piece) {
    return {load_stream(static_cast<const float*>(m.data) +
                        static_cast<std::size_t>(row) * m.stride + piece * kElements)};
  }
  __device__ float get(int i) const {
    return __uint_as_float(i == 0 ? bits.x : i == 1 ? bits.y : i == 2 ? bits.z : bits.w);
  }
  __device__ float dot(const float (&x)[kElements], float sum) const {
    sum = fmaf(__uint_as_float(bits.x), x[0], sum);
    sum = fmaf(__uint_as_float(bits.y), x[1], sum);
    sum = fmaf(__uint_as_float(bits.z), x[2], sum);
    return fmaf(__uint_as_float(bits.w), x[3], sum);
  }
};

template <>
struct Piece<DType::kF16> {
  static constexpr int kElements = 8;
  uint4 bits{};
  __device__ static Piece load(const DeviceMatrix& m, int row, int piece) {
    return {load_stream(static_cast<const __half*>(m.data) +
                        static_cast<std::size_t>(row) * m.stride + piece * kElements)};
  }
  __device__ static float2 pair(std::uint32_t b) {
    return __half22float2(*reinterpret_cast<const __half2*>(&b));
  }
  __device__ float dot(const float (&x)[kElements], float sum) const {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 w = pair(words[i]);
      sum = fmaf(w.x, x[2 * i], sum);
      sum = fmaf(w.y, x[2 * i + 1], sum);
    }
    return sum;
  }
};

template <>
struct Piece<DType::kBF16> {
  static constexpr int kElements = 8;
  uint4 bits{};
  __device__ static Piece load(const DeviceMatrix& m, int row, int piece) {
    return {load_stream(static_cast<const __nv_bfloat16*>(m.data) +
                        static_cast<std::size_t>(row) * m.stride + piece * kElements)};
  }
  __device__ float dot(const float (&x)[kElements], float sum) const {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum = fmaf(__uint_as_float(words[i] << 16U), x[2 * i], sum);
      sum = fmaf(__uint_as_float(words[i] & 0xFFFF0000U), x[2 * i + 1], sum);
    }
    return sum;
  }
};

template <>
struct Piece<DType::kQ8_0> {
  static constexpr int kElements = 16;
  uint4 bits{};
  float scale = 0.0F;
  __device__ static Piece load(const DeviceMatrix& m, int row, int piece) {
    const std::size_t at = static_cast<std::size_t>(row) * m.stride + piece * kElements;
    const auto* scales = static_cast<const unsigned short*>(m.scales);
    return {load_stream(static_cast<const std::int8_t*>(m.data) + at),
            half_bits_to_float(__ldg(scales + at / 32))};
  }
  /// Byte i of `word`, which holds code + 128, as a float: 2²³ + byte has the byte in its last
  /// bits.
  __device__ static float code(std::uint32_t word, int i) {
    return __uint_as_float(__byte_perm(word, 0x4B000000U, 0x7440U + static_cast<unsigned>(i))) -
           8388736.0F;
  }
  __device__ float dot(const float (&x)[kElements], float sum) const {
    const std::uint32_t words[4] = {bits.x ^ 0x80808080U, bits.y ^ 0x80808080U,
                                    bits.z ^ 0x80808080U, bits.w ^ 0x80808080U};
    float part = 0.0F;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      part = fmaf(code(words[i / 4], i % 4), x[i], part);
    }
    return fmaf(scale, part, sum);
  }
};

/// One weight as float32, for rows that are read whole (embedding, dequantising).
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
    const float scale = half_bits_to_float(static_cast<const unsigned short*>(m.scales)[at / 32]);
    return scale * static_cast<float>(static_cast<const std::int8_t*>(m.data)[at]);
  }
}

#endif  // __CUDACC__

/// Calls f.template operator()<DType>() for the run-time type.
template <class F>
Status for_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f.template operator()<DType::kF32>();
    case DType::kF16:
      return f.template operator()<DType::kF16>();
    case DType::kBF16:
      return f.template operator()<DType::kBF16>();
    case DType::kQ8_0:
      return f.template operator()<DType::kQ8_0>();
    default:
      return internal_error("a weight type that the CUDA kernels cannot compute with");
  }
}

}  // namespace layerscope::kernels::cuda

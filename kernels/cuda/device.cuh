// What kernels share: launching, reductions, dispatch over element types.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/block_planes.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

inline constexpr int kWarp = 32;

/// Launches `kernel`; with `on.overlap` as a programmatic dependent of the launch before it, with
/// `cluster` > 1 in clusters of as many neighbouring blocks (compute capability ≥ 9.0).
template <class... Parameters, class... Arguments>
Status launch_clusters(const Launch& on, int cluster, void (*kernel)(Parameters...), dim3 grid,
                       int block, std::size_t shared, Arguments... arguments) {
  // 48 KB are granted unasked, but the kernel's static variables count too.
  if (shared > 32U * 1024U) {
    LS_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared)));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(block));
  config.dynamicSmemBytes = shared;
  config.stream = on.stream;
  cudaLaunchAttribute attributes[2]{};
  unsigned n = 0;
  if (on.overlap) {
    attributes[n].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[n++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    attributes[n].id = cudaLaunchAttributeClusterDimension;
    attributes[n++].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  }
  config.attrs = attributes;
  config.numAttrs = n;
  LS_CUDA(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
  return {};
}
template <class... Parameters, class... Arguments>
Status launch(const Launch& on, void (*kernel)(Parameters...), dim3 grid, int block,
              std::size_t shared, Arguments... arguments) {
  return launch_clusters(on, 1, kernel, grid, block, shared, arguments...);
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

/// Asynchronous copies to shared memory; not `inside`: zeros instead.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(inside ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_async_16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(global));
}
__device__ __forceinline__ void copy_async_8(void* shared, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(global));
}
__device__ __forceinline__ void copy_async_4(void* shared, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(global));
}

/// Elements 4i … 4i + 3, zero beyond `cols`. Whole rows of 16 bytes are read as such. Past L1,
/// which another kernel's writes do not reach.
__device__ __forceinline__ float4 load_four(const float* values, int i, int cols) {
  if (4 * i + 3 < cols && cols % 4 == 0) {
    return __ldcg(reinterpret_cast<const float4*>(values) + i);
  }
  const auto at = [&](int k) { return 4 * i + k < cols ? __ldcg(values + 4 * i + k) : 0.0F; };
  return {at(0), at(1), at(2), at(3)};
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
#define LS_CASE(name) \
  case DType::name:   \
    return f.template operator()<DType::name>();
      LS_PLANE_TYPES(LS_CASE)
#undef LS_CASE
    default:
      return internal_error("a weight type that the CUDA kernels cannot compute with");
  }
}

}  // namespace layerscope::kernels::cuda

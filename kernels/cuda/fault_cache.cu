// Writes to the caches, slot by slot, so that a fault can choose another slot or leave one out.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/fault_ops.h"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__device__ void write(void* cache, bool f32, std::size_t at, float value) {
  if (f32) {
    static_cast<float*>(cache)[at] = value;
  } else {
    static_cast<__half*>(cache)[at] = __float2half_rn(value);
  }
}

__device__ float read(const void* cache, bool f32, std::size_t at) {
  return f32 ? static_cast<const float*>(cache)[at]
             : __half2float(static_cast<const __half*>(cache)[at]);
}

__global__ void __launch_bounds__(kThreads) write_slot_kernel(const __grid_constant__ SlotWrite s) {
  const int head = static_cast<int>(blockIdx.x);
  const int dim = s.heads.head_dim;
  const bool f32 = s.heads.kv_f32;
  const std::size_t first = static_cast<std::size_t>(head) * s.heads.context;
  const std::size_t to = (first + s.slot) * s.heads.head_stride;
  const std::size_t from = (first + (s.from >= 0 ? s.from : 0)) * s.heads.head_stride;
  for (int i = static_cast<int>(threadIdx.x); i < dim; i += kThreads) {
    float key = 0.0F;
    float value = 0.0F;
    if (s.keys != nullptr) {
      key = s.keys[head * dim + i];
      value = s.values[head * dim + i];
    } else if (s.from >= 0) {
      key = read(s.cache.keys, f32, from + i);
      value = read(s.cache.values, f32, from + i);
    }
    write(s.cache.keys, f32, to + i, key);
    write(s.cache.values, f32, to + i, value);
  }
}

__global__ void __launch_bounds__(kThreads)
    store_queries_kernel(HeadLayout heads, float* cache, const float* queries, int position) {
  const std::size_t row = static_cast<std::size_t>(blockIdx.x) * heads.n_heads + blockIdx.y;
  const std::size_t slot =
      (static_cast<std::size_t>(blockIdx.y) * heads.context + position + blockIdx.x) *
      heads.head_stride;
  for (int i = static_cast<int>(threadIdx.x); i < heads.head_dim; i += kThreads) {
    cache[slot + i] = queries[row * heads.head_dim + i];
  }
}

}  // namespace

Status launch_write_slot(const Launch& on, const SlotWrite& write) {
  return launch(on, write_slot_kernel, dim3(static_cast<unsigned>(write.heads.n_kv_heads)),
                kThreads, 0, write);
}

Status launch_store_queries(const Launch& on, const HeadLayout& heads, const LayerCache& cache,
                            const float* queries, int position, int n) {
  const dim3 grid(static_cast<unsigned>(n), static_cast<unsigned>(heads.n_heads));
  return launch(on, store_queries_kernel, grid, kThreads, 0, heads, cache.queries, queries,
                position);
}

}  // namespace layerscope::kernels::cuda

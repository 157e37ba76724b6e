// Prefill: norm and SwiGLU that also leave the F16 rows which the next product reads, as
// launch_to_f16 makes them: one launch and one reading of the row less. One block per token.
//
// Bytes for 512 tokens of Llama-3-8B: norm 21 MB (8.4 read, 8.4 + 4.2 written), SwiGLU 103 MB. On
// an H200 (ncu) 8.4 µs (54 % of 4.65 TB/s) and 33.8 µs (66 %).
#include "kernels/cuda/rows_f16.h"

#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// The power of two by which a row whose largest magnitude is `top` is scaled down, so that it fits
/// F16 (65,504). Inf and NaN stay what they are.
__device__ float fitting_scale(float top) {
  float scale = 1.0F;
  while (top > 32768.0F && top < INFINITY && scale < 1e30F) {
    top *= 0.5F;
    scale *= 2.0F;
  }
  return scale;
}

/// Writes what this thread wrote to `row` once more as F16, 4 values at a time; zeros up to stride.
__device__ void write_f16(const float* row, int width, float top, float* scratch,
                          const F16Rows& out) {
  const float scale = fitting_scale(block_max(top, scratch));
  const float inverse = 1.0F / scale;
  __half* const to =
      static_cast<__half*>(out.values) + static_cast<std::size_t>(blockIdx.x) * out.stride;
  for (int i = 4 * static_cast<int>(threadIdx.x); i < width; i += 4 * kThreads) {
    const float4 v = *reinterpret_cast<const float4*>(row + i);
    __half2* const at = reinterpret_cast<__half2*>(to + i);
    at[0] = __floats2half2_rn(v.x * inverse, v.y * inverse);
    at[1] = __floats2half2_rn(v.z * inverse, v.w * inverse);
  }
  for (int i = width + static_cast<int>(threadIdx.x); i < out.stride; i += kThreads) {
    to[i] = __float2half_rn(0.0F);
  }
  if (threadIdx.x == 0) {
    out.row_scale[blockIdx.x] = scale;
  }
}

__device__ __forceinline__ float largest(const float4& v) {
  return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

__global__ void __launch_bounds__(kThreads)
    rms_norm_f16_kernel(const float* x, const float* weight, int width, float eps, float* out,
                        const F16Rows half) {
  __shared__ float scratch[kWarp];
  const std::size_t base = static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(width);
  const int begin = 4 * static_cast<int>(threadIdx.x);
  float squares = 0.0F;
  for (int i = begin; i < width; i += 4 * kThreads) {
    const float4 v = *reinterpret_cast<const float4*>(x + base + i);
    squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
  }
  const float mean = block_sum(squares, scratch) / static_cast<float>(width);
  const float scale = 1.0F / sqrtf(mean + eps);
  float top = 0.0F;
  for (int i = begin; i < width; i += 4 * kThreads) {
    const float4 v = *reinterpret_cast<const float4*>(x + base + i);
    const float4 w = *reinterpret_cast<const float4*>(weight + i);
    const float4 y{v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w};
    *reinterpret_cast<float4*>(out + base + i) = y;
    top = fmaxf(top, largest(y));
  }
  write_f16(out + base, width, top, scratch, half);
}

__device__ __forceinline__ float swiglu(float gate, float up) {
  return gate / (1.0F + expf(-gate)) * up;
}
__device__ __forceinline__ float4 scaled(float4 v, float s) {
  return {v.x * s, v.y * s, v.z * s, v.w * s};
}

__global__ void __launch_bounds__(kThreads)
    swiglu_f16_kernel(float* gate, float* up, float* act, int width, const F16Rows half) {
  __shared__ float scratch[kWarp];
  const std::size_t base = static_cast<std::size_t>(blockIdx.x) * static_cast<std::size_t>(width);
  const float scale = half.row_scale[blockIdx.x];  // of the products; replaced at the end
  float top = 0.0F;
  for (int i = 4 * static_cast<int>(threadIdx.x); i < width; i += 4 * kThreads) {
    float4 g = *reinterpret_cast<const float4*>(gate + base + i);
    float4 u = *reinterpret_cast<const float4*>(up + base + i);
    if (scale != 1.0F) {  // hardly ever
      g = scaled(g, scale);
      u = scaled(u, scale);
      *reinterpret_cast<float4*>(gate + base + i) = g;
      *reinterpret_cast<float4*>(up + base + i) = u;
    }
    const float4 a{swiglu(g.x, u.x), swiglu(g.y, u.y), swiglu(g.z, u.z), swiglu(g.w, u.w)};
    *reinterpret_cast<float4*>(act + base + i) = a;
    top = fmaxf(top, largest(a));
  }
  write_f16(act + base, width, top, scratch, half);
}

}  // namespace

Status launch_rms_norm_f16(const Launch& on, const float* x, const float* weight, int n_rows,
                           int width, float eps, float* out, const F16Rows& half) {
  return launch(on, rms_norm_f16_kernel, dim3(static_cast<unsigned>(n_rows)), kThreads, 0, x,
                weight, width, eps, out, half);
}

Status launch_swiglu_f16(const Launch& on, float* gate, float* up, float* act, int n, int width,
                         const F16Rows& half) {
  return launch(on, swiglu_f16_kernel, dim3(static_cast<unsigned>(n)), kThreads, 0, gate, up, act,
                width, half);
}

}  // namespace layerscope::kernels::cuda

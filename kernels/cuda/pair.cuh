// A float32 number as the sum of two F16 ones.
#pragma once

#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {

/// Probabilities, at most 1, are scaled away from F16's smallest numbers.
inline constexpr float kPairRowScale = 0x1p12F;

#ifdef __CUDACC__

/// high + low / low_scale = v · scale, but for 2⁻²² of it. What F16 cannot hold becomes Inf or NaN
/// in `high` alone.
__device__ __forceinline__ void split_pair(float v, float scale, float low_scale, __half& high,
                                           __half& low) {
  const float scaled = v * scale;
  high = __float2half_rn(scaled);
  const float back = __half2float(high);
  low = __float2half_rn(isfinite(back) ? (scaled - back) * low_scale : 0.0F);
}

__device__ __forceinline__ unsigned two_halves(__half a, __half b) {
  return static_cast<unsigned>(__half_as_ushort(a)) |
         (static_cast<unsigned>(__half_as_ushort(b)) << 16U);
}

/// Four probabilities.
__device__ __forceinline__ void split_row(const float (&p)[4], uint2& high, uint2& low) {
  __half h[4];
  __half l[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    split_pair(p[i], kPairRowScale, 1.0F, h[i], l[i]);
  }
  high = {two_halves(h[0], h[1]), two_halves(h[2], h[3])};
  low = {two_halves(l[0], l[1]), two_halves(l[2], l[3])};
}

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

// Rotation of Q and K with something wrong per head; one block per token and head.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/fault_ops.h"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__device__ void rotate(float* values, const float* cos_sin, int dim, bool half) {
  const int pairs = dim / 2;
  for (int i = static_cast<int>(threadIdx.x); i < pairs; i += kThreads) {
    const int first = half ? i : 2 * i;
    const int second = half ? i + pairs : 2 * i + 1;
    const float a = values[first];
    const float b = values[second];
    values[first] = a * cos_sin[2 * i] - b * cos_sin[2 * i + 1];
    values[second] = a * cos_sin[2 * i + 1] + b * cos_sin[2 * i];
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads)
    fault_rotation_kernel(const __grid_constant__ FaultRotation s) {
  extern __shared__ float values[];  // [head_dim]
  const std::size_t row = static_cast<std::size_t>(blockIdx.x) * s.n_heads + blockIdx.y;
  const int tid = static_cast<int>(threadIdx.x);
  const unsigned mode = s.modes[blockIdx.y];
  for (int i = tid; i < s.head_dim; i += kThreads) {
    values[i] = s.in[row * s.head_dim + i];
  }
  __syncthreads();
  if (s.rope.pairing != RopePairing::kNone && (mode & kRotateNot) == 0) {
    const float* angles = (mode & kRotateOtherAngles) != 0 ? s.other : s.cos_sin;
    angles += static_cast<std::size_t>(blockIdx.x) * s.rope.dim;
    const bool half = (s.rope.pairing == RopePairing::kHalf) != ((mode & kRotateOtherPairs) != 0);
    rotate(values, angles, s.rope.dim, half);
    if ((mode & kRotateTwice) != 0) {
      rotate(values, angles, s.rope.dim, half);
    }
  }
  for (int i = tid; i < s.head_dim; i += kThreads) {
    s.out[row * s.head_dim + i] = values[i];
  }
}

}  // namespace

Status launch_fault_rotation(const Launch& on, const FaultRotation& stage) {
  const dim3 grid(static_cast<unsigned>(stage.n), static_cast<unsigned>(stage.n_heads));
  return launch(on, fault_rotation_kernel, grid, kThreads,
                static_cast<std::size_t>(stage.head_dim) * sizeof(float), stage);
}

}  // namespace layerscope::kernels::cuda

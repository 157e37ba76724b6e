// Row-wise operations of the architectures that the fused stages do not cover: norms of every kind,
// biases, activations, sums, scaled and capped values. One block per row, or one thread per value.
//
// Bytes: each row once or twice, from L2 in decode; each launch takes 2 to 4 µs there, latency.
#include "kernels/cuda/piece.cuh"
#include "kernels/cuda/plain_ops.h"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

dim3 blocks_for(std::size_t n) {
  const std::size_t blocks = (n + kThreads - 1) / kThreads;
  return {static_cast<unsigned>(blocks < 65536 ? blocks : 65536)};
}

__device__ __forceinline__ std::size_t first_value() {
  return static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x;
}
__device__ __forceinline__ std::size_t all_threads() {
  return static_cast<std::size_t>(gridDim.x) * kThreads;
}

__global__ void __launch_bounds__(kThreads) norm_rows_kernel(const __grid_constant__ NormRows s) {
  __shared__ double scratch[kWarp];
  wait_for_previous();
  let_next_start();
  const std::size_t base = static_cast<std::size_t>(blockIdx.x) * s.width;
  const float* x = s.x + base;
  const int weight_row = static_cast<int>(blockIdx.x) % s.weight_rows;
  const std::size_t weight_base = static_cast<std::size_t>(weight_row) * s.width;
  double mean = 0.0;
  if (s.centred) {
    double sum = 0.0;
    for (int i = static_cast<int>(threadIdx.x); i < s.width; i += kThreads) {
      sum += static_cast<double>(x[i]);
    }
    mean = block_sum(sum, scratch) / s.width;
  }
  double squares = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < s.width; i += kThreads) {
    const double d = static_cast<double>(x[i]) - mean;
    squares = fma(d, d, squares);
  }
  const double scale =
      1.0 / sqrt(block_sum(squares, scratch) / s.width + static_cast<double>(s.eps));
  for (int i = static_cast<int>(threadIdx.x); i < s.width; i += kThreads) {
    const auto normed = static_cast<float>((static_cast<double>(x[i]) - mean) * scale);
    s.out[base + i] =
        normed * s.weight[weight_base + i] + (s.bias != nullptr ? s.bias[weight_base + i] : 0.0F);
  }
}

__global__ void __launch_bounds__(kThreads)
    finish_rows_kernel(float* x, const float* row_scale, const float* bias, int width) {
  wait_for_previous();
  let_next_start();
  float* row = x + static_cast<std::size_t>(blockIdx.x) * width;
  const float scale = row_scale != nullptr ? row_scale[blockIdx.x] : 1.0F;
  if (scale == 1.0F && bias == nullptr) {
    return;
  }
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    row[i] = row[i] * scale + (bias != nullptr ? bias[i] : 0.0F);
  }
}

__global__ void __launch_bounds__(kThreads)
    add_rows_kernel(const float* a, const float* b, float* out, std::size_t n) {
  wait_for_previous();
  let_next_start();
  for (std::size_t i = first_value(); i < n; i += all_threads()) {
    out[i] = a[i] + b[i];
  }
}

template <Activation kKind>
__device__ __forceinline__ float activated(float x) {
  if constexpr (kKind == Activation::kSilu) {
    return x / (1.0F + expf(-x));
  } else if constexpr (kKind == Activation::kGeluTanh) {
    // x / (1 + e^−2z): without the cancellation of 1 + tanh for negative x.
    const float twice = 1.5957691216057308F * (x + 0.044715F * x * x * x);
    return x / (1.0F + expf(-twice));
  } else {
    return 0.5F * x * erfcf(-x * 0.70710678F);
  }
}

template <Activation kKind>
__global__ void __launch_bounds__(kThreads)
    activate_kernel(const float* gate, const float* up, float* out, std::size_t n) {
  wait_for_previous();
  let_next_start();
  for (std::size_t i = first_value(); i < n; i += all_threads()) {
    const float y = activated<kKind>(gate[i]);
    out[i] = up != nullptr ? y * up[i] : y;
  }
}

template <DType kType>
__global__ void __launch_bounds__(kThreads)
    finish_embedding_kernel(float* x, int width, float scale, DeviceMatrix positions,
                            const std::int32_t* position) {
  wait_for_previous();
  let_next_start();
  float* row = x + static_cast<std::size_t>(blockIdx.x) * width;
  const int at = *position + static_cast<int>(blockIdx.x);
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    const float v = row[i] * scale;
    row[i] = positions.data != nullptr ? v + weight_at<kType>(positions, at, i) : v;
  }
}

__global__ void __launch_bounds__(kThreads)
    rope_angles_kernel(const double* inv_freq, const std::int32_t* position, int dim, double factor,
                       float* cos_sin) {
  wait_for_previous();
  let_next_start();
  const auto t = static_cast<int>(blockIdx.x);
  float* row = cos_sin + static_cast<std::size_t>(t) * dim;
  for (int i = static_cast<int>(threadIdx.x); i < dim / 2; i += kThreads) {
    double sin = 0.0;
    double cos = 0.0;
    sincos(static_cast<double>(*position + t) * inv_freq[i], &sin, &cos);
    row[2 * i] = static_cast<float>(factor * cos);
    row[2 * i + 1] = static_cast<float>(factor * sin);
  }
}

__global__ void __launch_bounds__(kThreads)
    finish_logits_kernel(float* logits, std::size_t n, float scale, float cap) {
  wait_for_previous();
  let_next_start();
  for (std::size_t i = first_value(); i < n; i += all_threads()) {
    const float v = logits[i] * scale;
    logits[i] = cap > 0.0F ? cap * tanhf(v / cap) : v;
  }
}

}  // namespace

Status launch_norm_rows(const Launch& on, const NormRows& stage) {
  return launch(on, norm_rows_kernel, dim3(static_cast<unsigned>(stage.n_rows)), kThreads, 0,
                stage);
}

Status launch_finish_rows(const Launch& on, float* x, const float* row_scale, const float* bias,
                          int n, int width) {
  return launch(on, finish_rows_kernel, dim3(static_cast<unsigned>(n)), kThreads, 0, x, row_scale,
                bias, width);
}

Status launch_add_rows(const Launch& on, const float* a, const float* b, float* out,
                       std::size_t count) {
  return launch(on, add_rows_kernel, blocks_for(count), kThreads, 0, a, b, out, count);
}

Status launch_activate(const Launch& on, Activation kind, const float* gate, const float* up,
                       float* out, std::size_t count) {
  const dim3 grid = blocks_for(count);
  switch (kind) {
    case Activation::kSilu:
      return launch(on, activate_kernel<Activation::kSilu>, grid, kThreads, 0, gate, up, out,
                    count);
    case Activation::kGeluTanh:
      return launch(on, activate_kernel<Activation::kGeluTanh>, grid, kThreads, 0, gate, up, out,
                    count);
    case Activation::kGelu:
      return launch(on, activate_kernel<Activation::kGelu>, grid, kThreads, 0, gate, up, out,
                    count);
  }
  return internal_error("an activation that the CUDA kernels do not know");
}

Status launch_finish_embedding(const Launch& on, float* x, int n, int width, float scale,
                               const DeviceMatrix& positions, const std::int32_t* position) {
  return for_dtype(positions.dtype, [&]<DType kType>() {
    return launch(on, finish_embedding_kernel<kType>, dim3(static_cast<unsigned>(n)), kThreads, 0,
                  x, width, scale, positions, position);
  });
}

Status launch_rope_angles(const Launch& on, const double* inv_freq, const std::int32_t* position,
                          int n, int dim, double factor, float* cos_sin) {
  return launch(on, rope_angles_kernel, dim3(static_cast<unsigned>(n)), kThreads, 0, inv_freq,
                position, dim, factor, cos_sin);
}

Status launch_finish_logits(const Launch& on, float* logits, std::size_t count, float scale,
                            float cap) {
  return launch(on, finish_logits_kernel, blocks_for(count), kThreads, 0, logits, count, scale,
                cap);
}

}  // namespace layerscope::kernels::cuda

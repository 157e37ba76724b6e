// Decode stage 4: RMS norm, gate and up products, SwiGLU, one launch.
//
// A warp takes row i of both matrices, so the activation is made where the products are. Bytes: the
// two matrices once. On an H200, one launch after the other (bench_gpu_kernels): Llama-3-8B F16,
// 235 MB, 60.6 µs = 3.9 TB/s (83 % of 4.65); Q8_0, 124.8 MB, 33.9 µs (79 %); Q6_K, 97.3 MB,
// 29.1 µs (72 %); Q4_K, 67.9 MB, 24.7 µs = 2.7 TB/s (59 %), where shared memory is busy 70 % and
// instructions 53 % of the time.
#include "kernels/cuda/matvec.cuh"

namespace layerscope::kernels::cuda {
namespace {

template <DType kType>
using Stream = RowStream<kType, 2, Piece<kType>::kDepth, 1>;

template <DType kType>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    gate_up_kernel(const __grid_constant__ GateUpStage s, int padded) {
  extern __shared__ float4 shared[];
  constexpr int kElements = Piece<kType>::kElements;
  let_next_start();
  const int turn = static_cast<int>(gridDim.x) * kMatvecWarps;
  int row = static_cast<int>(blockIdx.x) * kMatvecWarps + static_cast<int>(threadIdx.x) / kWarp;
  const auto source = [&](int group, int r) { return RowOf{r == 0 ? &s.gate : &s.up, group}; };
  Stream<kType> stream(shared + padded / 4, s.gate.stride, row, turn, s.gate.rows, 0, source);
  const NormWeight<kType> norm(s.norm_weight, s.gate.cols);
  wait_for_previous();
  stage_norm<kType>(shared, s.x, norm, s.gate.cols, padded, s.eps, s.normed);
  for (; row < s.gate.rows; row += turn) {
    float sum[2] = {0.0F, 0.0F};
    stream.multiply(source, shared, padded / kElements, sum);
    if (threadIdx.x % kWarp == 0) {
      s.gate_out[row] = sum[0];
      s.up_out[row] = sum[1];
      s.act[row] = sum[0] / (1.0F + expf(-sum[0])) * sum[1];
    }
  }
}

/// Only where the file gives gate and up different types.
__global__ void __launch_bounds__(kMatvecThreads)
    activate_kernel(const float* gate, const float* up, float* act, int n) {
  let_next_start();
  wait_for_previous();
  const int i = static_cast<int>(blockIdx.x * kMatvecThreads + threadIdx.x);
  if (i < n) {
    const float g = __ldcg(gate + i);
    act[i] = g / (1.0F + expf(-g)) * __ldcg(up + i);
  }
}

Status launch_apart(const Launch& on, const GateUpStage& s) {
  LS_CHECK(launch_head(on, {s.gate, s.norm_weight, s.eps, s.x, s.normed, s.gate_out}));
  LS_CHECK(launch_head(on, {s.up, s.norm_weight, s.eps, s.x, nullptr, s.up_out}));
  const int blocks = (s.gate.rows + kMatvecThreads - 1) / kMatvecThreads;
  return launch(on, activate_kernel, dim3(static_cast<unsigned>(blocks)), kMatvecThreads, 0,
                s.gate_out, s.up_out, s.act, s.gate.rows);
}

}  // namespace

Status launch_gate_up(const Launch& on, const GateUpStage& stage) {
  if (stage.gate.dtype != stage.up.dtype) {
    return launch_apart(on, stage);
  }
  const int padded = shared_floats(stage.gate.cols);
  const int blocks = even_blocks(stage.gate.rows, kMatvecWarps, on.sm_count * 3);
  return for_dtype(stage.gate.dtype, [&]<DType kType>() {
    return launch(on, gate_up_kernel<kType>, dim3(static_cast<unsigned>(blocks)), kMatvecThreads,
                  static_cast<std::size_t>(padded) * sizeof(float) + Stream<kType>::kBytes, stage,
                  padded);
  });
}

}  // namespace layerscope::kernels::cuda

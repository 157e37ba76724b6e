// Decode stage 4: RMS norm, gate and up products, SwiGLU, one launch.
//
// A warp takes row i of both matrices, so the activation is made where the products are. Bytes: the
// two matrices once. On an H200, one launch after the other (bench_gpu_kernels): Llama-3-8B F16,
// 235 MB, 60.2 µs = 3.9 TB/s (84 % of 4.65); Q8_0, 124.8 MB, 36.7 µs = 3.4 TB/s (73 %).
#include "kernels/cuda/matvec.cuh"

#ifndef LS_GATE_PAIRS
#define LS_GATE_PAIRS 1
#endif
namespace layerscope::kernels::cuda {
namespace {

/// Rows of each matrix that a warp takes at once.
template <DType kType>
constexpr int kPairs = Piece<kType>::kBlocks ? LS_GATE_PAIRS : 1;

template <DType kType>
using Stream = RowStream<kType, 2 * kPairs<kType>, Piece<kType>::kDepth, 1>;

template <DType kType>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    gate_up_kernel(const __grid_constant__ GateUpStage s, int n_groups, int padded) {
  extern __shared__ float4 shared[];
  constexpr int kElements = Piece<kType>::kElements;
  constexpr int kEach = kPairs<kType>;
  let_next_start();
  const int turn = static_cast<int>(gridDim.x) * kMatvecWarps;
  int group = static_cast<int>(blockIdx.x) * kMatvecWarps + static_cast<int>(threadIdx.x) / kWarp;
  const auto source = [&](int which, int r) {
    return RowOf{r % 2 == 0 ? &s.gate : &s.up, min(which * kEach + r / 2, s.gate.rows - 1)};
  };
  Stream<kType> stream(shared + padded / 4, s.gate.stride, group, turn, n_groups, 0, source);
  const NormWeight<kType> norm(s.norm_weight, s.gate.cols);
  wait_for_previous();
  stage_norm<kType>(shared, s.x, norm, s.gate.cols, padded, s.eps, s.normed);
  for (; group < n_groups; group += turn) {
    float sum[2 * kEach] = {};
    stream.multiply(source, shared, padded / kElements, sum);
    if (threadIdx.x % kWarp == 0) {
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        const int row = group * kEach + k;
        if (row < s.gate.rows) {
          const float gate = sum[2 * k];
          s.gate_out[row] = gate;
          s.up_out[row] = sum[2 * k + 1];
          s.act[row] = gate / (1.0F + expf(-gate)) * sum[2 * k + 1];
        }
      }
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
  return for_dtype(stage.gate.dtype, [&]<DType kType>() {
    const int groups = (stage.gate.rows + kPairs<kType> - 1) / kPairs<kType>;
    const int blocks = even_blocks(groups, kMatvecWarps, on.sm_count * 3);
    return launch(on, gate_up_kernel<kType>, dim3(static_cast<unsigned>(blocks)), kMatvecThreads,
                  static_cast<std::size_t>(padded) * sizeof(float) + Stream<kType>::kBytes, stage,
                  groups, padded);
  });
}

}  // namespace layerscope::kernels::cuda

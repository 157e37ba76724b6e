// Decode, last stage: final RMS norm and the head's product, one launch.
//
// A warp takes four vocabulary rows at once (two of block types): x is then read from shared memory
// once for all of them.
// Bytes: the head once. On an H200 (bench_gpu_kernels): Qwen2.5-0.5B F16, 272 MB, 66.9 µs = 4.1
// TB/s (87 % of 4.65), Q8_0, 146 MB, 42.0 µs (75 %); Llama-3-8B F16, 1,051 MB, 248 µs (91 %), Q8_0,
// 558 MB, 136 µs = 4.1 TB/s (88 %), Q6_K, 435 MB, 110 µs (85 %), Q4_K, 304 MB, 89 µs (73 %).
#include "kernels/cuda/matvec.cuh"

namespace layerscope::kernels::cuda {
namespace {

template <DType kType>
constexpr int kHeadRows = Piece<kType>::kBlocks ? 2 : 4;

template <DType kType>
using Stream =
    RowStream<kType, kHeadRows<kType>, Piece<kType>::kBlocks ? Piece<kType>::kDepth : 4, 1>;

template <DType kType>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    head_kernel(const __grid_constant__ HeadStage s, int n_groups, int padded) {
  extern __shared__ float4 shared[];
  constexpr int kElements = Piece<kType>::kElements;
  constexpr int kRows = kHeadRows<kType>;
  let_next_start();
  const int turn = static_cast<int>(gridDim.x) * kMatvecWarps;
  int group = static_cast<int>(blockIdx.x) * kMatvecWarps + static_cast<int>(threadIdx.x) / kWarp;
  const auto source = [&](int which, int r) {
    return RowOf{&s.w, min(which * kRows + r, s.w.rows - 1)};
  };
  Stream<kType> stream(shared + padded / 4, s.w.stride, group, turn, n_groups, 0, source);
  const NormWeight<kType> norm(s.norm_weight, s.w.cols);
  wait_for_previous();
  stage_norm<kType>(shared, s.x, norm, s.w.cols, padded, s.eps, s.normed);
  for (; group < n_groups; group += turn) {
    float sum[kRows] = {};
    stream.multiply(source, shared, padded / kElements, sum);
    if (threadIdx.x % kWarp == 0) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (group * kRows + r < s.w.rows) {
          s.logits[group * kRows + r] = sum[r];
        }
      }
    }
  }
}

}  // namespace

Status launch_head(const Launch& on, const HeadStage& stage) {
  const int padded = shared_floats(stage.w.cols);
  return for_dtype(stage.w.dtype, [&]<DType kType>() {
    const int groups = (stage.w.rows + kHeadRows<kType> - 1) / kHeadRows<kType>;
    const int blocks = even_blocks(groups, kMatvecWarps, on.sm_count * 3);
    return launch(on, head_kernel<kType>, dim3(static_cast<unsigned>(blocks)), kMatvecThreads,
                  static_cast<std::size_t>(padded) * sizeof(float) + Stream<kType>::kBytes, stage,
                  groups, padded);
  });
}

}  // namespace layerscope::kernels::cuda

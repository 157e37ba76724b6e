// Decode, last stage: final RMS norm and the head's product, one launch.
//
// A warp takes four vocabulary rows at once: x is then read from shared memory once for four rows.
// Bytes: the head once.
#include "kernels/cuda/matvec.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kHeadRows = 4;

template <DType kType>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    head_kernel(const __grid_constant__ HeadStage s, int n_groups, int padded) {
  extern __shared__ float4 shared[];
  auto* x = reinterpret_cast<float*>(shared);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();
  bool first_turn = true;
  for (int group = static_cast<int>(blockIdx.x) * kMatvecWarps + warp;;
       group += static_cast<int>(gridDim.x) * kMatvecWarps) {
    const bool mine = group < n_groups;
    int rows[kHeadRows];
    const DeviceMatrix* w[kHeadRows];
#pragma unroll
    for (int r = 0; r < kHeadRows; ++r) {
      const int row = group * kHeadRows + r;
      rows[r] = row < s.w.rows ? row : s.w.rows - 1;
      w[r] = &s.w;
    }
    RowDot<kType, kHeadRows, 2, 1> dot;
    if (mine) {
      dot.begin(w, rows, 0);
    }
    if (first_turn) {
      first_turn = false;
      wait_for_previous();
      stage_norm(x, s.x, s.norm_weight, s.w.cols, padded, s.eps, s.normed);
    }
    if (!mine) {
      return;
    }
    float sum[kHeadRows] = {};
    dot.finish(w, rows, x, sum);
    if (threadIdx.x % kWarp == 0) {
#pragma unroll
      for (int r = 0; r < kHeadRows; ++r) {
        const int row = group * kHeadRows + r;
        if (row < s.w.rows) {
          s.logits[row] = sum[r];
        }
      }
    }
  }
}

}  // namespace

Status launch_head(const Launch& on, const HeadStage& stage) {
  const int padded = shared_floats(stage.w.cols);
  const int groups = (stage.w.rows + kHeadRows - 1) / kHeadRows;
  const int blocks = even_blocks(groups, kMatvecWarps, on.sm_count * 3);
  return for_dtype(stage.w.dtype, [&]<DType kType>() {
    return launch(on, head_kernel<kType>, dim3(static_cast<unsigned>(blocks)), kMatvecThreads,
                  static_cast<std::size_t>(padded) * sizeof(float), stage, groups, padded);
  });
}

}  // namespace layerscope::kernels::cuda

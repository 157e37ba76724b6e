// Decode stages 3 and 5: output projection or down projection, bias, residual, one launch.
//
// With many rows a warp takes two of them; with few rows (small models) four warps share one, so
// that every multiprocessor has enough loads in flight. Bytes: the matrix once.
#include "kernels/cuda/matvec.cuh"

namespace layerscope::kernels::cuda {
namespace {

template <DType kType, int kRows, int kSplit>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    project_kernel(const __grid_constant__ ProjectStage s, int n_groups, int padded) {
  extern __shared__ float4 shared[];
  auto* x = reinterpret_cast<float*>(shared);
  __shared__ float parts[kMatvecWarps][kRows];
  constexpr int kPerBlock = kMatvecWarps / kSplit;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();
  bool first_turn = true;
  // Whole blocks take turns together: the barrier below needs every warp.
  for (int turn = static_cast<int>(blockIdx.x) * kPerBlock; turn < n_groups;
       turn += static_cast<int>(gridDim.x) * kPerBlock) {
    const int group = turn + warp / kSplit;
    int rows[kRows];
    const DeviceMatrix* w[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = group * kRows + r;
      rows[r] = row < s.w.rows ? row : s.w.rows - 1;
      w[r] = &s.w;
    }
    RowDot<kType, kRows, 4, kSplit> dot;
    dot.begin(w, rows, warp % kSplit);
    if (first_turn) {
      first_turn = false;
      wait_for_previous();
      stage_plain(x, s.x, s.w.cols, padded);
    }
    float sum[kRows] = {};
    dot.finish(w, rows, x, sum);
    if constexpr (kSplit > 1) {
      if (threadIdx.x % kWarp == 0) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          parts[warp][r] = sum[r];
        }
      }
      __syncthreads();
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sum[r] = parts[warp][r];
        for (int k = 1; k < kSplit && warp % kSplit == 0; ++k) {
          sum[r] += parts[warp + k][r];
        }
      }
      __syncthreads();
    }
    if (threadIdx.x % kWarp == 0 && warp % kSplit == 0) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int row = group * kRows + r;
        if (row < s.w.rows) {
          const float value = sum[r] + (s.bias != nullptr ? s.bias[row] : 0.0F);
          s.block[row] = value;
          s.out[row] = s.residual[row] + value;
        }
      }
    }
  }
}

}  // namespace

Status launch_project(const Launch& on, const ProjectStage& stage) {
  constexpr int kManyRows = 4096;
  const int padded = shared_floats(stage.w.cols);
  const std::size_t bytes = static_cast<std::size_t>(padded) * sizeof(float);
  return for_dtype(stage.w.dtype, [&]<DType kType>() {
    if (stage.w.rows >= kManyRows) {
      const int groups = (stage.w.rows + 1) / 2;
      const int blocks = even_blocks(groups, kMatvecWarps, on.sm_count * 3);
      return launch(on, project_kernel<kType, 2, 1>, dim3(static_cast<unsigned>(blocks)),
                    kMatvecThreads, bytes, stage, groups, padded);
    }
    const int blocks = even_blocks(stage.w.rows, kMatvecWarps / 4, on.sm_count * 4);
    return launch(on, project_kernel<kType, 1, 4>, dim3(static_cast<unsigned>(blocks)),
                  kMatvecThreads, bytes, stage, stage.w.rows, padded);
  });
}

}  // namespace layerscope::kernels::cuda

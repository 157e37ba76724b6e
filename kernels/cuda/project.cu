// Decode stages 3 and 5: output projection or down projection, bias, residual, one launch.
//
// With many rows a warp takes two of them; with few rows (small models) four warps share one, so
// that every multiprocessor has enough loads in flight. Bytes: the matrix once. On an H200, one
// launch after the other (bench_gpu_kernels): Llama-3-8B down projection F16, 117.4 MB, 33.1 µs =
// 3.5 TB/s (76 % of 4.65); Q8_0, 62.4 MB, 24.1 µs (56 %; 21.8 µs with float32 activations, which
// take no staging); Q6_K, 48.6 MB, 21.8 µs (48 %); Q4_K, 33.9 MB, 19.0 µs (38 %).
#include "kernels/cuda/matvec.cuh"

namespace layerscope::kernels::cuda {
namespace {

template <DType kType, int kRows, int kSplit>
using Stream = RowStream<kType, kRows,
                         Piece<kType>::kDepth + (kRows > 1               ? 0
                                                 : Piece<kType>::kBlocks ? 1
                                                                         : 2),
                         kSplit>;

template <DType kType, int kRows, int kSplit>
__global__ void __launch_bounds__(kMatvecThreads, 3)
    project_kernel(const __grid_constant__ ProjectStage s, int n_groups, int padded) {
  extern __shared__ float4 shared[];
  __shared__ float parts[kMatvecWarps][kRows];
  constexpr int kElements = Piece<kType>::kElements;
  constexpr int kPerBlock = kMatvecWarps / kSplit;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();
  // Whole blocks take turns together: the barriers below need every warp. A group beyond the last
  // one repeats its last row.
  const int step = static_cast<int>(gridDim.x) * kPerBlock;
  int turn = static_cast<int>(blockIdx.x) * kPerBlock;
  const int last_turn = (n_groups + kPerBlock - 1) / kPerBlock * kPerBlock;
  const auto source = [&](int group, int r) {
    return RowOf{&s.w, min(group * kRows + r, s.w.rows - 1)};
  };
  Stream<kType, kRows, kSplit> stream(shared + padded / 4, s.w.stride, turn + warp / kSplit, step,
                                      last_turn, warp % kSplit, source);
  wait_for_previous();
  stage_plain<kType>(shared, s.x, s.w.cols, padded);
  for (; turn < n_groups; turn += step) {
    const int group = turn + warp / kSplit;
    // On their way while the products are made.
    float bias[kRows] = {};
    float residual[kRows] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = min(group * kRows + r, s.w.rows - 1);
      bias[r] = s.bias != nullptr ? s.bias[row] : 0.0F;
      residual[r] = __ldcg(s.residual + row);
    }
    float sum[kRows] = {};
    stream.multiply(source, shared, padded / kElements, sum);
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
          const float value = sum[r] + bias[r];
          s.block[row] = value;
          s.out[row] = residual[r] + value;
        }
      }
    }
  }
}

template <DType kType, int kRows, int kSplit>
Status launch_split(const Launch& on, const ProjectStage& stage, int groups, int blocks) {
  const int padded = shared_floats(stage.w.cols);
  return launch(
      on, project_kernel<kType, kRows, kSplit>, dim3(static_cast<unsigned>(blocks)), kMatvecThreads,
      static_cast<std::size_t>(padded) * sizeof(float) + Stream<kType, kRows, kSplit>::kBytes,
      stage, groups, padded);
}

}  // namespace

Status launch_project(const Launch& on, const ProjectStage& stage) {
  constexpr int kManyRows = 4096;
  const int rows = stage.w.rows;
  return for_dtype(stage.w.dtype, [&]<DType kType>() {
    if (rows >= kManyRows) {
      const int groups = (rows + 1) / 2;
      return launch_split<kType, 2, 1>(on, stage, groups,
                                       even_blocks(groups, kMatvecWarps, on.sm_count * 3));
    }
    if constexpr (Piece<kType>::kBlocks) {
      if (stage.w.stride <= kWarp * Piece<kType>::kElements) {  // one warp's step is a whole row
        return launch_split<kType, 1, 1>(on, stage, rows,
                                         even_blocks(rows, kMatvecWarps, on.sm_count * 4));
      }
    }
    return launch_split<kType, 1, 4>(on, stage, rows,
                                     even_blocks(rows, kMatvecWarps / 4, on.sm_count * 4));
  });
}

}  // namespace layerscope::kernels::cuda

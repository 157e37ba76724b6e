// Bytes: what is kept of a token is 4 KB for Llama-3-8B (516 columns of two values) and 256 for its
// 32 ranked tokens. A picture of 32 layers × 32,768 tokens reads 4 MB and writes 0.3 MB.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/stats_cells.h"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    keep_stats_kernel(const FinishedStats* stats, int n, int stride, int first, StatsHistory h) {
  const int t = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  const int column = static_cast<int>(blockIdx.y);
  if (t < n) {
    keep_column(h, column, first + t,
                stats[static_cast<std::size_t>(t) * stride + h.slots[column]]);
  }
}

__global__ void keep_logits_kernel(const RawLogitSummary* summary, int position, StatsHistory h) {
  keep_rank(h, *summary, position, static_cast<int>(threadIdx.x));
}

__global__ void __launch_bounds__(kThreads)
    picture_kernel(const __grid_constant__ StatsPicture picture, int n_cells) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (i < n_cells) {
    make_cell(picture, i);
  }
}

Launch alone(const Launch& on) {
  Launch plain = on;
  plain.overlap = false;
  return plain;
}

unsigned blocks_of(int n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }

}  // namespace

static_assert(kTopLogits == kWarp);

Status launch_keep_stats(const Launch& on, const FinishedStats* stats, int n, int stride, int first,
                         const StatsHistory& history) {
  if (n == 0 || history.columns == 0) {
    return {};
  }
  return launch(alone(on), keep_stats_kernel,
                dim3(blocks_of(n), static_cast<unsigned>(history.columns)), kThreads, 0, stats, n,
                stride, first, history);
}

Status launch_keep_logits(const Launch& on, const RawLogitSummary* summary, int position,
                          const StatsHistory& history) {
  return launch(alone(on), keep_logits_kernel, dim3(1), kTopLogits, 0, summary, position, history);
}

Status launch_forget_logits(const Launch& on, int first, int n, const StatsHistory& history) {
  if (n <= 0) {
    return {};
  }
  const std::size_t pitch = static_cast<std::size_t>(history.context) * sizeof(float);
  float* series = history.planes +
                  (history.n_planes() - kSeriesPlanes) * static_cast<std::size_t>(history.context);
  LS_CUDA(cudaMemset2DAsync(series + first, pitch, 0xFF,
                            static_cast<std::size_t>(n) * sizeof(float), kSeriesPlanes, on.stream));
  const std::size_t ranks = static_cast<std::size_t>(n) * kTopLogits;
  const std::size_t at = static_cast<std::size_t>(first) * kTopLogits;
  LS_CUDA(cudaMemsetAsync(history.lengths + at, 0xFF, ranks * sizeof(float), on.stream));
  LS_CUDA(cudaMemsetAsync(history.ids + at, 0xFF, ranks * sizeof(std::int32_t), on.stream));
  return {};
}

Status launch_stats_picture(const Launch& on, const StatsPicture& picture) {
  const int n_cells = picture_cells(picture);
  return n_cells == 0 ? Status{}
                      : launch(alone(on), picture_kernel, dim3(blocks_of(n_cells)), kThreads, 0,
                               picture, n_cells);
}

}  // namespace layerscope::kernels::cuda

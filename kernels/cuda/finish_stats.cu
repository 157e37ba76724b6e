// Prefill: moments of rows to the statistics that the host keeps (capture::TapStats): 24 bytes a
// row leave the GPU instead of 32, and the host has nothing left to compute. 7.7 µs on an H200
// (ncu) for all layers of 512 tokens of Llama-3-8B; a few layers at a time now.
#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    finish_stats_kernel(const RawStats* raw, int width, int stride, FinishedStats* out) {
  const int column = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (column >= width) {
    return;
  }
  const std::size_t i = static_cast<std::size_t>(blockIdx.y) * stride + column;
  const RawStats r = raw[i];
  const unsigned finite = r.count - r.non_finite;
  out[i] = {static_cast<float>(sqrt(r.sum_squares)),
            r.absmax,
            finite > 0 ? static_cast<float>(r.sum / finite) : 0.0F,
            r.count,
            r.non_finite,
            r.zeros};
}

}  // namespace

Status launch_finish_stats(const Launch& on, const RawStats* raw, int n_rows, int width, int stride,
                           FinishedStats* out) {
  const dim3 grid(static_cast<unsigned>((width + kThreads - 1) / kThreads),
                  static_cast<unsigned>(n_rows));
  return launch(on, finish_stats_kernel, grid, kThreads, 0, raw, width, stride, out);
}

}  // namespace layerscope::kernels::cuda

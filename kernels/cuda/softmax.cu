// Prefill: causal soft-max of score rows in place, with what the capture keeps; and the mask alone.
//
// One block per row. The scores come scaled from the product. Bytes: the row read three times (L2
// for all but very long contexts) and written twice; with rows kept, the seen part once more. On an
// H200 (ncu), 32 heads × 512 queries × 512 keys: 65 µs; 67 MB would take 14.4 µs (22 %).
#include "kernels/cuda/head_row.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxBins = 64;

__global__ void __launch_bounds__(kThreads)
    softmax_kernel(float* scores, int n, int keys, int first,
                   const __grid_constant__ SoftmaxCapture capture) {
  __shared__ HeadRowScratch scratch;
  __shared__ unsigned cells[kMaxBins];
  const int t = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y);
  float* row = scores + (static_cast<std::size_t>(head) * n + t) * keys;
  const int seen = first + t + 1;
  const int tid = static_cast<int>(threadIdx.x);
  const std::size_t index = static_cast<std::size_t>(capture.first_row) + head;
  const RowPlace place = capture.places != nullptr ? capture.places[t] : RowPlace{nullptr, 0};
  float* kept = place.rows != nullptr ? place.rows + index * place.row_stride : nullptr;
  float top = -INFINITY;
  for (int j = tid; j < seen; j += kThreads) {
    const float s = row[j];
    top = fmaxf(top, s);
    if (kept != nullptr) {
      kept[j] = s;
    }
  }
  if (tid < kMaxBins) {
    cells[tid] = 0;
  }
  top = block_max(top, scratch.values);
  float total = 0.0F;
  for (int j = tid; j < seen; j += kThreads) {
    const float e = expf(row[j] - top);
    row[j] = e;
    total += e;
  }
  total = block_sum(total, scratch.values);
  const float inverse = 1.0F / total;
  for (int j = tid; j < keys; j += kThreads) {
    row[j] = j < seen ? row[j] * inverse : 0.0F;
  }
  if (capture.stats == nullptr) {
    return;
  }
  __syncthreads();
  const float lse = top + logf(total);
  const RawHeadStats result =
      summarise_row<kThreads>([&](int j) { return row[j]; }, seen, lse, scratch);
  const std::size_t at = static_cast<std::size_t>(t) * capture.n_rows + index;
  if (tid == 0) {
    capture.stats[at] = result;
    if (kept != nullptr) {
      place.rows[static_cast<std::size_t>(capture.n_rows) * place.row_stride + index] = lse;
    }
  }
  if (capture.pooled == nullptr) {
    return;
  }
  const int width = pooled_width(seen, capture.bins);
  for (int base = 0; base < seen; base += kThreads) {
    const int j = base + tid;
    pool_probability(j < seen ? row[j] : 0.0F, j, seen, width, cells);
  }
  __syncthreads();
  if (tid < capture.bins) {
    capture.pooled[at * capture.bins + tid] = pooled_cell(cells[tid]);
  }
}

__global__ void __launch_bounds__(kThreads) mask_kernel(float* scores, int n, int keys, int first) {
  const int t = static_cast<int>(blockIdx.x);
  float* row = scores + (static_cast<std::size_t>(blockIdx.y) * n + t) * keys;
  for (int j = first + t + 1 + static_cast<int>(threadIdx.x); j < keys; j += kThreads) {
    row[j] = -INFINITY;
  }
}

}  // namespace

Status launch_softmax(const Launch& on, float* scores, int n_heads, int n, int keys, int first,
                      const SoftmaxCapture& capture) {
  if (capture.bins > kMaxBins) {
    return internal_error("attention rows are pooled to 64 cells at most");
  }
  return launch(on, softmax_kernel, dim3(static_cast<unsigned>(n), static_cast<unsigned>(n_heads)),
                kThreads, 0, scores, n, keys, first, capture);
}

Status launch_mask(const Launch& on, float* scores, int n_heads, int n, int keys, int first) {
  return launch(on, mask_kernel, dim3(static_cast<unsigned>(n), static_cast<unsigned>(n_heads)),
                kThreads, 0, scores, n, keys, first);
}

}  // namespace layerscope::kernels::cuda

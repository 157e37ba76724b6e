// Bytes: taking in one token reads its pooled cells (21 KB for Qwen2.5-0.5B, 48 KB for Llama-3-8B)
// and touches as many codes; the values of the whole atlas are 2 bytes read and 4 written a cell
// (8.3 and 14 MB), of which a place that holds an earlier picture needs the last rows only.
#include "kernels/cuda/attention_map.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/draw.h"
#include "kernels/cuda/head_row.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    history_kernel(const RawHeadStats* heads, int n, int n_rows, int first, DrawHistory history) {
  const std::size_t count = static_cast<std::size_t>(n) * n_rows;
  const std::size_t start = static_cast<std::size_t>(first) * n_rows;
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) {
    history.lse[start + i] = heads[i].lse;
  }
  if (i < static_cast<std::size_t>(n)) {
    history.kept[first + i] = 1;
  }
}

/// One block per head and row of cells, one thread per column.
__global__ void atlas_kernel(AtlasStage s, int first_cell_row) {
  const int row = static_cast<int>(blockIdx.x);  // of all heads
  const int cell_row = first_cell_row + static_cast<int>(blockIdx.y);
  const int column = static_cast<int>(threadIdx.x);
  const std::size_t n_rows = static_cast<std::size_t>(s.n_layers) * s.n_heads;
  const int begin = max(s.first, cell_row * s.bin);
  const int end = min(s.n, (cell_row + 1) * s.bin);
  const int key = column * s.bin;  // first of the cell
  int best = 0;
  for (int position = max(begin, key); position < end; ++position) {
    if (s.history.kept[position] == 0) {
      continue;
    }
    const int width = pooled_width(position + 1, s.side);  // ≤ bin: both hold this many keys
    const std::uint8_t* cells =
        s.history.pooled + (static_cast<std::size_t>(position) * n_rows + row) * s.side;
    const int last = min((key + s.bin - 1) / width, position / width);
    for (int b = key / width; b <= last; ++b) {
      best = max(best, cells[b] + 1);
    }
  }
  const std::size_t line =
      static_cast<std::size_t>(row / s.n_heads) * s.side + static_cast<std::size_t>(cell_row);
  std::uint16_t& code = s.codes[line * s.n_heads * s.side +
                                static_cast<std::size_t>(row % s.n_heads) * s.side + column];
  if (best > code) {
    code = static_cast<std::uint16_t>(best);
  }
}

__global__ void __launch_bounds__(kThreads)
    atlas_values_kernel(const std::uint16_t* codes, std::size_t n, std::size_t first,
                        std::size_t per_layer, float* out) {
  // Cells [first, first + n) of each layer's part, blockIdx.y.
  const std::size_t start = blockIdx.y * per_layer + first;
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * kThreads;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += step) {
    const int code = codes[start + i];
    out[start + i] = code == 0     ? kMapHole
                     : code == 256 ? NAN
                                   : static_cast<float>(code - 1) / 254.0F;
  }
}

unsigned blocks_of(std::size_t n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }

}  // namespace

Status launch_draw_history(const Launch& on, const RawHeadStats* heads, const std::uint8_t* pooled,
                           int n, int n_rows, int bins, int first, const DrawHistory& history) {
  Launch plain = on;
  plain.overlap = false;
  const std::size_t rows = static_cast<std::size_t>(n) * static_cast<std::size_t>(n_rows);
  const auto line = static_cast<std::size_t>(n_rows) * static_cast<std::size_t>(bins);
  LS_CUDA(cudaMemcpyAsync(history.pooled + static_cast<std::size_t>(first) * line, pooled,
                          static_cast<std::size_t>(n) * line, cudaMemcpyDeviceToDevice, on.stream));
  return launch(plain, history_kernel, dim3(blocks_of(rows)), kThreads, 0, heads, n, n_rows, first,
                history);
}

Status launch_atlas_add(const Launch& on, const AtlasStage& stage) {
  if (stage.first >= stage.n) {
    return {};
  }
  if (stage.side < 1 || stage.side > 64 || stage.side * stage.bin < stage.n) {
    return internal_error("an atlas of that size does not hold so many tokens");
  }
  Launch plain = on;
  plain.overlap = false;
  const int first_cell_row = stage.first / stage.bin;
  const int cell_rows = (stage.n - 1) / stage.bin - first_cell_row + 1;
  const dim3 grid(static_cast<unsigned>(stage.n_layers * stage.n_heads),
                  static_cast<unsigned>(cell_rows));
  return launch(plain, atlas_kernel, grid, stage.side, 0, stage, first_cell_row);
}

Status launch_atlas_values(const Launch& on, const AtlasStage& stage, int first, int end,
                           float* out) {
  if (first < 0 || first >= end || end > stage.side || stage.n_layers < 1) {
    return first == end ? Status{} : internal_error("an atlas has no such rows of cells");
  }
  Launch plain = on;
  plain.overlap = false;
  const std::size_t line =
      static_cast<std::size_t>(stage.n_heads) * static_cast<std::size_t>(stage.side);
  const std::size_t n = static_cast<std::size_t>(end - first) * line;
  const unsigned blocks = blocks_of(n);
  return launch(plain, atlas_values_kernel,
                dim3(blocks < 64 ? blocks : 64, static_cast<unsigned>(stage.n_layers)), kThreads, 0,
                stage.codes, n, static_cast<std::size_t>(first) * line,
                line * static_cast<std::size_t>(stage.side), out);
}

}  // namespace layerscope::kernels::cuda

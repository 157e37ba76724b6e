// Pictures for the window, made where the data are: the atlas of thumbnails, and what drawing needs
// of a prompt's positions.
#pragma once

#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

/// Prefill: positions [first, first + n) into the history. heads [n][n_rows] and pooled
/// [n][n_rows][bins] are what soft-max left (SoftmaxCapture).
Status launch_draw_history(const Launch& on, const RawHeadStats* heads, const std::uint8_t* pooled,
                           int n, int n_rows, int bins, int first, const DrawHistory& history);

/// Takes positions [first, n) into the atlas. Cell (row, column) of a head covers `bin` queries and
/// `bin` keys; side · bin ≥ n. Codes only rise: a position that is taken in twice changes nothing.
struct AtlasStage {
  DrawHistory history;
  int n_layers = 0, n_heads = 0;
  int side = 0;  ///< cells of a head in each direction, and bins of the history
  int bin = 1;   ///< tokens per cell, a power of two
  int first = 0, n = 0;
  std::uint16_t* codes = nullptr;  ///< [n_layers · side][n_heads · side]; 0 nothing, else 1 + cell
};
Status launch_atlas_add(const Launch& on, const AtlasStage& stage);
/// Codes to roots of probabilities (capture::PooledRows::root_of) in `out`, laid out as the codes;
/// kMapHole where there is nothing. Only cell rows [first, end) of each head.
Status launch_atlas_values(const Launch& on, const AtlasStage& stage, int first, int end,
                           float* out);

}  // namespace layerscope::kernels::cuda

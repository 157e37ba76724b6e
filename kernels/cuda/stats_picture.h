// Statistics of every position, kept for drawing, and the pictures made of them.
//
// The last node of a decode step writes a position's share (step.cu), a prefill pass many at once.
// Planes run along the tokens, so that a map of 32,768 tokens × 32 layers is read in order (4 MB)
// and nothing has to be kept between pictures. All ones (a NaN that no arithmetic makes) mean "not
// known".
#pragma once

#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

inline constexpr int kStatPlanes = 2;    ///< of a column: L2 norm, largest magnitude
inline constexpr int kSeriesPlanes = 4;  ///< entropy (bit), smallest, mean, largest logit
inline constexpr int kProfileLines = 3;

struct StatsHistory {
  /// [kStatPlanes][columns][context], then the series [kSeriesPlanes][context]; null: nothing is
  /// kept. NaN: the row held values that are no finite numbers.
  float* planes = nullptr;
  /// [context][kTopLogits]: probabilities of the ranked tokens as parts of the largest, and ids (−1
  /// behind the last).
  float* lengths = nullptr;
  std::int32_t* ids = nullptr;
  const std::int32_t* slots = nullptr;  ///< [columns] of RawStats and FinishedStats
  int columns = 0;
  int context = 0;

  [[nodiscard]] std::size_t n_planes() const {
    return static_cast<std::size_t>(kStatPlanes) * static_cast<std::size_t>(columns) +
           static_cast<std::size_t>(kSeriesPlanes);
  }
};

/// Prefill: positions [first, first + n) of the planes of statistics. stats [n][stride].
Status launch_keep_stats(const Launch& on, const FinishedStats* stats, int n, int stride, int first,
                         const StatsHistory& history);
/// The distribution after `position`: its series, lengths and ids.
Status launch_keep_logits(const Launch& on, const RawLogitSummary* summary, int position,
                          const StatsHistory& history);
/// Positions [first, first + n) have no distribution.
Status launch_forget_logits(const Launch& on, int first, int n, const StatsHistory& history);

/// One picture; a part without an output is not made. Cells as in backend/draw_stats.h, holes
/// kMapHole.
struct StatsPicture {
  StatsHistory history;
  int n_tokens = 0;
  float* map = nullptr;  ///< [map_rows][map_width]
  int map_plane = 0;     ///< of the first row
  int map_step = 0;      ///< planes from one row to the next
  int map_rows = 0, map_width = 0, map_bin = 1;
  float* profile = nullptr;  ///< [kProfileLines][n_layers], of `position`
  int profile_planes[kProfileLines] = {};
  int profile_step = 0;
  int n_layers = 0;
  float* bars = nullptr;  ///< [2][kTopLogits], of `position`
  int position = 0;
  const std::int32_t* next = nullptr;  ///< the token after `position`; null: there is none
  float* series = nullptr;             ///< [2 · kSeriesPlanes][series_cells]
  int series_cells = 0, series_bin = 1;
};
/// One launch, a thread per cell. 32 layers × 32,768 tokens in 2,048 columns: 4 MB read, 0.3 MB
/// written.
Status launch_stats_picture(const Launch& on, const StatsPicture& picture);

}  // namespace layerscope::kernels::cuda

// Drawn: a picture that the engine made, as panels read it, and what is known of it on the host:
// the range of its colours comes from the rows' statistics, since the cells may never leave the
// GPU.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/backend/draw.h"
#include "engine/session/session.h"
#include "gui/view/chart.h"
#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

struct Drawn {
  backend::DrawnFrame frame;
  int slot = -1;                ///< that the renderer knows; −1: `host` has the floats
  const float* host = nullptr;  ///< [frame.floats()]
  std::uint64_t value = 0;      ///< raised with every picture

  /// One of its grids, to be coloured over 0 … 1.
  [[nodiscard]] HeatmapData cells(const backend::DrawGrid& grid) const;
  /// Lines of one of its grids, from row `first` on; with `ranges` two rows each.
  [[nodiscard]] ChartSource lines(const backend::DrawGrid& grid, int first, int n, bool ranges,
                                  bool pooled) const;
};

/// Whether it shows tokens that the snapshot still has, as they are.
bool shows(const Drawn& drawn, const session::Snapshot& snapshot);
/// Whether it shows everything that was evaluated.
bool is_complete(const Drawn& drawn, const session::Snapshot& snapshot);

/// The statistics of a picture where a panel may draw from them: they show the present tokens, or,
/// while a GPU draws beside the steps, those of a moment ago. Null: draw from the frames.
const backend::DrawnStats* drawn_stats(const Drawn* drawn, const session::Snapshot& snapshot);
/// The position whose profile or bars they hold, if it is the wanted one (−1: the newest); else −1.
int drawn_position(const Drawn& drawn, int wanted);

struct ColorRange {
  float lo = 0.0F, hi = 1.0F;
  bool log_scale = false;
  std::size_t non_finite = 0;  ///< rows that hold something that is no number
};
/// For the values of `rect`: probabilities up to what all but 2 % of the rows reach at most (four
/// decades below that on a logarithmic scale), scores from the rows' mean to their maximum.
ColorRange drawn_range(const session::Snapshot& snapshot, const backend::MapRect& rect,
                       bool log_scale);

/// The probability of one pair as captured or recomputed exactly, where it is on the host.
std::optional<float> exact_value(const session::Snapshot& snapshot, int layer, int head, int query,
                                 int key);
/// The request that brings the pairs under one cell of a map to the host.
session::InspectAttention pairs_of_cell(const backend::MapRect& rect, int row, int column,
                                        int n_tokens);

/// Half or twice as many tokens in each direction around the pair (query, key), inside n_tokens.
/// The whole map when it would be larger.
backend::MapView zoomed(const backend::MapRect& rect, int query, int key, bool closer,
                        int n_tokens);
/// Moved by whole tokens, inside n_tokens.
backend::MapView moved(const backend::MapRect& rect, int queries, int keys, int n_tokens);

}  // namespace layerscope::gui::view

// Norms: layers × tokens map of a statistic of one tap, and one token's profile over the layers. UI
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/backend/draw.h"
#include "engine/capture/taps.h"
#include "engine/session/snapshot.h"
#include "gui/view/frames.h"
#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

/// What a map shows.
struct StatChoice {
  capture::Tap tap = capture::Tap::kResidOut;
  backend::Statistic statistic = backend::Statistic::kL2;
  bool operator==(const StatChoice&) const = default;
};

/// Range of the finite, positive values over all tokens and layers; only new tokens are looked at.
/// Kept beside the map, since the cells of a picture may never leave the GPU.
class StatRange {
 public:
  void update(const session::Snapshot& snapshot, const StatChoice& choice);
  /// 0 … 0 when there are none.
  [[nodiscard]] float lo() const { return lo_; }
  [[nodiscard]] float hi() const { return hi_; }
  /// Whether any value was captured (the tap exists in this model).
  [[nodiscard]] bool any() const { return any_; }
  /// Gives a map its colours.
  void apply(bool log_scale, HeatmapData& data) const;

 private:
  FrameCursor cursor_;
  StatChoice choice_;
  float lo_ = 0.0F, hi_ = 0.0F;
  bool any_ = false;
};

/// The map from the frames, for where the engine draws no pictures: the same cells
/// (backend::DrawnStats::map).
class NormsMap {
 public:
  void update(const session::Snapshot& snapshot, const StatChoice& choice);

  /// rows() × columns() cells; the first used() columns hold data, layer 0 in the first row.
  [[nodiscard]] HeatmapData data() const;
  [[nodiscard]] int rows() const { return rows_; }
  [[nodiscard]] int columns() const { return columns_.cells; }
  [[nodiscard]] int bin() const { return columns_.bin; }  ///< tokens per column
  [[nodiscard]] int used() const { return (cursor_.size() + columns_.bin - 1) / columns_.bin; }
  [[nodiscard]] float cell(int row, int column) const {
    return cells_[static_cast<std::size_t>(row) * static_cast<std::size_t>(columns_.cells) +
                  static_cast<std::size_t>(column)];
  }

 private:
  void restart(const session::Snapshot& snapshot, const StatChoice& choice);
  void widen(const backend::Binning& columns);

  FrameCursor cursor_;
  StatChoice choice_;
  std::vector<float> cells_;  ///< [rows][columns]
  backend::Binning columns_ = backend::stat_columns(0);
  int rows_ = 0;
  std::uint64_t version_ = 0;
};

/// The frame's norms of `tap`, one per layer: NaN where values were no finite numbers,
/// HeatmapData::kHole where unknown.
std::vector<float> norm_profile(const capture::TokenFrame* frame, capture::Tap tap);

/// now[i] / before[i]; a hole where either is no finite number or `before` is not positive.
std::vector<float> ratio_profile(const std::vector<float>& now, const std::vector<float>& before);

/// What the two blocks of each layer add, relative to the residual stream after it: the norms of
/// attn_out and ffn_out over that of resid_out. Holes as in a ratio.
struct NormShares {
  std::vector<float> attention, feed_forward;
};
NormShares norm_shares(const capture::TokenFrame* frame);

}  // namespace layerscope::gui::view

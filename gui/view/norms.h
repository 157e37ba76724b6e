// Norms: layers × tokens map of one tap's L2 norm, and one token's profile over the layers. UI
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/capture/taps.h"
#include "engine/session/snapshot.h"
#include "gui/view/frames.h"
#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

class NormsMap {
 public:
  static constexpr int kMaxColumns = 2048;

  /// Chooses the tap; starts anew when it differs.
  void select(capture::Tap tap);
  void update(const session::Snapshot& snapshot);

  /// rows() × columns() cells; the first used() columns hold data, layer 0 in the first row. A cell
  /// is the largest norm of its tokens, NaN where any of them held non-finite values.
  [[nodiscard]] HeatmapData data() const;
  [[nodiscard]] int rows() const { return rows_; }
  [[nodiscard]] int columns() const { return columns_; }
  [[nodiscard]] int bin() const { return bin_; }  ///< tokens per column
  [[nodiscard]] int used() const { return (cursor_.size() + bin_ - 1) / bin_; }
  [[nodiscard]] float cell(int row, int column) const {
    return cells_[static_cast<std::size_t>(row) * static_cast<std::size_t>(columns_) +
                  static_cast<std::size_t>(column)];
  }
  /// Range of the finite, positive norms; 0 … 0 when there are none.
  [[nodiscard]] float lo() const { return lo_; }
  [[nodiscard]] float hi() const { return hi_; }
  /// True when at least one cell has a value (the tap exists in this model and was captured).
  [[nodiscard]] bool any() const { return any_; }

 private:
  void restart(const session::Snapshot& snapshot);
  void grow();
  void find_range();

  FrameCursor cursor_;
  std::vector<float> cells_;  ///< [rows][columns]
  capture::Tap tap_ = capture::Tap::kResidOut;
  int rows_ = 0;
  int columns_ = 0;
  int bin_ = 1;
  float lo_ = 0.0F;
  float hi_ = 0.0F;
  bool any_ = false;
  bool stale_ = true;
  std::uint64_t version_ = 0;
};

/// One value of a norms map: hole when not captured, NaN when non-finite values were counted.
float norm_value(const capture::TapStats* stats);

/// The frame's norms of `tap`, one per layer; NaN (a gap) where unknown.
std::vector<float> norm_profile(const capture::TokenFrame* frame, capture::Tap tap);

/// now[i] / before[i]; NaN (a gap) where either is unknown or `before` is 0.
std::vector<float> ratio_profile(const std::vector<float>& now, const std::vector<float>& before);

/// What the two blocks of each layer add, relative to the residual stream after it: the norms of
/// attn_out and ffn_out over that of resid_out. NaN where unknown.
struct NormShares {
  std::vector<float> attention, feed_forward;
};
NormShares norm_shares(const capture::TokenFrame* frame);

}  // namespace layerscope::gui::view

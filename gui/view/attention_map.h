// AttentionMap: one head's whole map (query × key) as heatmap values, kept up to date
// incrementally. UI thread.
//
// Up to kMaxSide tokens have a cell each; beyond that cells hold the maximum of bin × bin tokens.
// Rows whose attention was dropped for memory come from the snapshot's recomputed head map when it
// is there; until then they are holes and `wanted` says which request would fill them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/session/snapshot.h"
#include "gui/view/frames.h"
#include "gui/view/heatmap.h"
#include "gui/view/pooling.h"

namespace layerscope::gui::view {

enum class MapValue : std::uint8_t { kProbability, kScore };

/// The value of one cell: the probability itself, or its score ln(p) + lse. A probability of
/// exactly zero has no finite score and becomes a hole.
float map_value(float probability, float lse, MapValue value);

class AttentionMap {
 public:
  static constexpr int kMaxSide = 1024;

  /// Chooses what is shown; starts anew when it differs.
  void select(int layer, int head, MapValue value);
  /// Takes in new and changed rows, at most about `budget` values; true when up to date.
  bool update(const session::Snapshot& snapshot, std::size_t budget = std::size_t{1} << 21U);

  /// side() × side() cells, of which used() × used() hold data. `log_scale` colours probabilities
  /// by their logarithm; it does not apply to scores, which are logarithms already.
  [[nodiscard]] HeatmapData data(bool log_scale) const;
  [[nodiscard]] int side() const { return side_; }
  [[nodiscard]] int bin() const { return bin_; }
  [[nodiscard]] int n_tokens() const { return cursor_.size(); }
  [[nodiscard]] int used() const { return (n_tokens() + bin_ - 1) / bin_; }
  [[nodiscard]] float cell(int row, int column) const {
    return cells_[static_cast<std::size_t>(row) * static_cast<std::size_t>(side_) +
                  static_cast<std::size_t>(column)];
  }
  /// Positions without a row; filled when a head map arrives.
  [[nodiscard]] const std::vector<int>& missing() const { return missing_; }
  /// True once for every new need of a RequestHeadMap.
  [[nodiscard]] bool wants_request(const session::Snapshot& snapshot);
  [[nodiscard]] std::size_t non_finite() const { return range_.non_finite; }

 private:
  void restart(const session::Snapshot& snapshot);
  void grow();
  void take(const session::Snapshot& snapshot, int position);
  void fill_missing(const session::Snapshot& snapshot);
  void find_range();

  FrameCursor cursor_;
  std::vector<float> cells_;  ///< [side][side]
  std::vector<float> row_;
  std::vector<int> missing_;
  /// Held, so that a later map cannot have its address.
  std::shared_ptr<const session::HeadMap> filled_from_;
  std::uint64_t requested_serial_ = 0;
  Range range_;
  Range log_range_;
  int layer_ = 0;
  int head_ = 0;
  MapValue value_ = MapValue::kProbability;
  int side_ = 0;
  int bin_ = 1;
  std::uint64_t version_ = 0;
};

/// Row sums of the head at every `bin`-th group of positions: the sum farthest from 1 of each
/// group, kHole where unknown. One value per used row of cells.
std::vector<float> row_sums(const session::Snapshot& snapshot, int layer, int head, int bin);

/// The same, remembered from one snapshot to the next: a frame that was seen is not read again.
class RowSums {
 public:
  void update(const session::Snapshot& snapshot, int layer, int head);
  [[nodiscard]] std::vector<float> grouped(int bin) const;

 private:
  FrameCursor cursor_;
  std::vector<float> sums_;  ///< by position; kHole where unknown
  int layer_ = -1, head_ = -1;
};

}  // namespace layerscope::gui::view

// Thumbnails: every head's attention map at 16–64 cells per side, in one atlas, kept up to date
// incrementally. UI thread.
//
// Cells hold the square root of the largest probability of the tokens that they cover: the root
// makes weak structure visible beside a strong sink, and commutes with the maximum. Rows are taken
// in once, when their frame is new; a cell keeps what was seen after the row was dropped for
// memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/session/snapshot.h"
#include "gui/view/frames.h"
#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

class Thumbnails {
 public:
  /// Takes in new and changed frames, about `budget` probabilities at a time (a million cost 4 ms
  /// of one core); true when up to date.
  bool update(const session::Snapshot& snapshot, std::size_t budget = std::size_t{1} << 20U);

  /// The atlas: row `layer`, column `head`, `side()` cells each. Range 0 … 1 (root of probability).
  [[nodiscard]] HeatmapData data() const;
  [[nodiscard]] int side() const { return side_; }
  [[nodiscard]] int bin() const { return bin_; }  ///< tokens per cell
  [[nodiscard]] int n_layers() const { return layers_; }
  [[nodiscard]] int n_heads() const { return heads_; }
  [[nodiscard]] int n_tokens() const { return cursor_.size(); }
  /// Cells in use along each axis; the rest of a thumbnail is empty.
  [[nodiscard]] int used() const { return (n_tokens() + bin_ - 1) / bin_; }
  [[nodiscard]] float cell(int layer, int head, int row, int column) const;
  /// Rows that had no captured attention when they were taken in.
  [[nodiscard]] int rows_missing() const { return missing_; }

 private:
  void reset(const session::Snapshot& snapshot);
  [[nodiscard]] std::size_t offset(int layer, int head) const;
  void take(const capture::TokenFrame& frame);
  bool take_root(const capture::TokenFrame& frame, int layer, int head);

  FrameCursor cursor_;
  std::vector<float> cells_;  ///< [layers · side][heads · side]
  std::vector<float> row_;
  int row_width_ = 1;  ///< keys per value of row_
  int layers_ = 0;
  int heads_ = 0;
  int side_ = 64;
  int bin_ = 1;
  int missing_ = 0;
  std::uint64_t version_ = 0;
};

/// Cells per side for that many heads, so that the atlas stays within a few million cells.
int thumbnail_side(int n_layers, int n_heads);

}  // namespace layerscope::gui::view

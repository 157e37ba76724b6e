// Frames: safe reads from a snapshot's frames, and the cursor by which views notice what changed.
//
// A faulty backend may publish frames with missing or short arrays; every read here checks sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/session/snapshot.h"

namespace layerscope::gui::view {

/// Null when the frame has no statistics for that place. `layer` −1 reads the model-wide taps.
const capture::TapStats* tap_stats(const capture::TokenFrame* frame, int layer, capture::Tap tap);
const capture::HeadStats* head_stats(const capture::TokenFrame* frame, int layer, int head);

/// The frame's own attention row, `position + 1` probabilities; empty when it was not captured or
/// stays on the GPU.
std::span<const float> captured_row(const capture::TokenFrame* frame, int layer, int head);
/// The largest probability of every `width` keys, where the rows stay on the GPU; the cells are
/// those of capture::PooledRows.
struct PooledRow {
  int width = 0;
  std::span<const std::uint8_t> cells;
};
PooledRow pooled_row(const capture::TokenFrame* frame, int layer, int head);
/// As captured_row, falling back to a row that was asked for (session::InspectAttention) and to the
/// recomputed head map where that covers the position.
std::span<const float> attention_row(const session::Snapshot& snapshot, int position, int layer,
                                     int head);
/// True when the snapshot's head map holds that row as it is now.
bool map_covers(const session::Snapshot& snapshot, int position, int layer, int head);

/// Tokens to list: evaluated positions, then prompt tokens that still wait.
int token_count(const session::Snapshot& snapshot);
std::int32_t token_id(const session::Snapshot& snapshot, int position);

/// Remembers the serials of the positions that a view has taken in. Frames are only appended or cut
/// at the end, so an equal serial means that everything before it is equal too.
class FrameCursor {
 public:
  /// Number of leading positions that are still the same in `snapshot`; O(log n).
  [[nodiscard]] int unchanged(const session::Snapshot& snapshot) const;
  /// Keeps `n` positions and adopts the snapshot's session.
  void truncate(int n, const session::Snapshot& snapshot);
  void push(const capture::TokenFrame& frame) { serials_.push_back(frame.serial); }
  [[nodiscard]] int size() const { return static_cast<int>(serials_.size()); }

 private:
  std::vector<std::uint64_t> serials_;
  std::uint64_t session_serial_ = 0;
};

}  // namespace layerscope::gui::view

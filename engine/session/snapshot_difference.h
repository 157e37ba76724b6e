// A, B and their difference as snapshots, so that every panel shows any of them. Pure functions of
// two snapshots; SnapshotDifference remembers frames that are already made.
//
// Model, tokens, state and messages are always A's. The difference of a frame holds, per number,
// A − B: of attention rows and probabilities the magnitude; of taps the statistics of a − b where
// both runs hold whole tensors, else the difference of their norms.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/compare/verdict.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

enum class Side : std::uint8_t { kA, kB, kDifference };
const char* side_name(Side side);  ///< "A", "B", "A − B"

/// B's frames, views and findings in A's place, over the positions that both have.
Snapshot reference_side(const Snapshot& a, const Snapshot& b);

/// One frame's difference; `exact` are statistics of a − b, empty when they are not known.
std::shared_ptr<const capture::TokenFrame> frame_difference(
    const capture::TokenFrame& a, const capture::TokenFrame& b,
    const std::vector<capture::TapStats>& exact);

/// Tensor by tensor where both have one of the same shape. Null when either is missing or they are
/// of different positions.
std::shared_ptr<const TokenDetail> detail_difference(const std::shared_ptr<const TokenDetail>& a,
                                                     const std::shared_ptr<const TokenDetail>& b);

class SnapshotDifference {
 public:
  /// A − B over the positions that both have.
  Snapshot make(const Snapshot& a, const Snapshot& b,
                const std::shared_ptr<const compare::TapDifferences>& exact);

 private:
  struct Made {
    std::uint64_t serial_a = 0, serial_b = 0;
    std::shared_ptr<const capture::TokenFrame> frame;
  };
  std::vector<Made> made_;
  std::shared_ptr<const compare::TapDifferences> exact_;  ///< that they were made with
};

}  // namespace layerscope::session

// Branches: lines of tokens that were left by a rewind, by forcing a token or by switching. A line
// keeps its frames, so that going back to it is instant and shows every captured step. Owned by the
// worker thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/capture/frame.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

class Branches {
 public:
  using Line = std::vector<std::shared_ptr<const capture::TokenFrame>>;
  static constexpr std::size_t kMaxBranches = 24;

  /// Keeps a line that is about to be cut or left. Lines that it begins with are dropped, and it is
  /// not kept when another one begins with it. Returns the id of the line that holds its tokens, −1
  /// for an empty one. The oldest goes when there are too many.
  int keep(const Line& line);
  /// Removes a line and gives it.
  std::optional<Line> take(int id);
  void clear() { lines_.clear(); }

  /// What the window shows. Lines with which `present` begins are dropped: it says the same.
  std::vector<BranchInfo> list(const Line& present);
  /// Drops detail that only kept lines hold until that takes at most `budget` bytes of the host's
  /// memory, the oldest line first and in it the oldest steps: all rows before any statistics.
  /// Returns what is left, the lines themselves included.
  std::uint64_t limit_bytes(const Line& present, std::uint64_t budget);
  /// The present line made a frame smaller: lines that share it let go of it too.
  void replace(std::size_t position, const std::shared_ptr<const capture::TokenFrame>& before,
               const std::shared_ptr<const capture::TokenFrame>& after);

  /// Tokens that two lines share from the start.
  static std::size_t shared(const Line& a, const Line& b);

 private:
  struct Kept {
    int id = 0;
    Line line;
  };
  std::vector<Kept> lines_;  ///< oldest first
  int next_id_ = 1;
};

}  // namespace layerscope::session

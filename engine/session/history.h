// History: the frames of the present line, accounted in bytes and kept within a budget.
//
// What falls out is the oldest steps' detail: attention rows first, then statistics and candidates;
// token, choice and the figures of its distribution always stay. Every change is O(1) in the number
// of frames, and so is bringing a snapshot's chunks up to date. Owned by one thread; the frames and
// chunks that it gives away are immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/capture/frame.h"
#include "engine/capture/frame_memory.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

/// A quarter of the memory that the process may use, at least 512 MiB.
std::uint64_t default_history_budget();

class History {
 public:
  using Frame = std::shared_ptr<const capture::TokenFrame>;
  using Line = std::vector<Frame>;
  static constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};
  /// So many of the newest frames stay whole: checks compare a token with the distribution before.
  static constexpr std::size_t kWhole = 2;

  [[nodiscard]] const Line& frames() const { return frames_; }
  void append(Frame frame);
  /// Another frame for a position that is there already.
  void replace(std::size_t position, Frame frame);
  /// Keeps the first `n` frames.
  void truncate(std::size_t n);
  /// Makes `line` the present one.
  void adopt(Line line);
  void clear() { truncate(0); }

  /// Drops attention rows, wherever they are, oldest first, until they take at most `bytes`. The
  /// newest frame keeps its own.
  void limit_rows(std::uint64_t bytes);
  /// The same, the newest included: a backend needs their room.
  void limit_all_rows(std::uint64_t bytes);
  /// Drops what takes memory of the host, oldest first: rows until `bytes` are enough, then
  /// statistics. The newest frames and every summary stay, so that more may be left.
  void limit_host(std::uint64_t bytes);

  [[nodiscard]] const capture::FrameMemory& memory() const { return memory_; }
  /// Bytes of rows, wherever they are.
  [[nodiscard]] std::uint64_t row_bytes() const { return row_bytes_; }
  /// Frames that lost their attention rows, and those of them that lost their statistics too.
  [[nodiscard]] int without_rows() const { return without_rows_; }
  [[nodiscard]] int without_statistics() const { return without_statistics_; }

  /// Brings the chunks of a snapshot up to date: those with changed frames are made anew. `chunks`
  /// must be what the last call of this history left.
  void update(std::vector<std::shared_ptr<const FrameChunk>>& chunks);

  /// Called whenever a frame was replaced by a smaller one.
  std::function<void(std::size_t position, const Frame& before, const Frame& after)> on_reduce;

 private:
  void count(const capture::TokenFrame& frame, int sign);
  void touch(std::size_t position);
  void reduce(std::size_t position, capture::Detail most);
  void drop_rows(std::uint64_t bytes, std::size_t end);

  Line frames_;
  capture::FrameMemory memory_;
  std::uint64_t row_bytes_ = 0;
  int without_rows_ = 0;
  int without_statistics_ = 0;
  // Frames before these have nothing of the kind left.
  std::size_t first_rows_ = 0, first_host_rows_ = 0, first_statistics_ = 0;
  std::vector<std::size_t> touched_;  ///< chunks
  bool all_touched_ = true;           ///< nobody has seen these chunks yet
};

}  // namespace layerscope::session

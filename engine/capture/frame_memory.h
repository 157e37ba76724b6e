// What a frame takes in memory, and how it is made smaller. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/capture/frame.h"

namespace layerscope::capture {

/// Bytes, the allocator's own bookkeeping estimated.
struct FrameMemory {
  std::uint64_t summary = 0;      ///< what always stays
  std::uint64_t statistics = 0;   ///< of taps and heads, and candidates beyond the first
  std::uint64_t rows = 0;         ///< attention rows on the host, pooled ones included
  std::uint64_t device_rows = 0;  ///< attention rows in the backend's memory
  [[nodiscard]] std::uint64_t host() const { return summary + statistics + rows; }

  FrameMemory& operator+=(const FrameMemory& other);
  FrameMemory& operator-=(const FrameMemory& other);
};

FrameMemory memory_of(const TokenFrame& frame);

/// Drops what is beyond `most`, in place. A frame that has nothing of it keeps its `detail`.
void reduce(TokenFrame& frame, Detail most);
/// The same for a published frame: a smaller copy, or `frame` itself where nothing is to go.
std::shared_ptr<const TokenFrame> reduced(const std::shared_ptr<const TokenFrame>& frame,
                                          Detail most);

}  // namespace layerscope::capture

#include "engine/capture/frame_memory.h"

#include <algorithm>

namespace layerscope::capture {
namespace {

/// glibc's header and rounding of one allocation.
constexpr std::uint64_t kAllocation = 24;
/// Two pointers to a frame (the line's and its chunk's) with their counters.
constexpr std::uint64_t kPointers = 2 * sizeof(std::shared_ptr<const TokenFrame>) + 16;

template <class T>
std::uint64_t bytes_of(const std::vector<T>& values) {
  return values.capacity() == 0 ? 0 : values.capacity() * sizeof(T) + kAllocation;
}

bool has_more(const TokenFrame& frame, Detail most) {
  const bool rows = frame.attention != nullptr && most < Detail::kAll;
  const bool candidates = frame.logits && frame.logits->top.size() > 1;
  const bool statistics = !frame.taps.empty() || !frame.heads.empty() || candidates;
  return rows || (statistics && most < Detail::kStatistics);
}

}  // namespace

FrameMemory& FrameMemory::operator+=(const FrameMemory& other) {
  summary += other.summary;
  statistics += other.statistics;
  rows += other.rows;
  device_rows += other.device_rows;
  return *this;
}

FrameMemory& FrameMemory::operator-=(const FrameMemory& other) {
  summary -= other.summary;
  statistics -= other.statistics;
  rows -= other.rows;
  device_rows -= other.device_rows;
  return *this;
}

FrameMemory memory_of(const TokenFrame& frame) {
  FrameMemory memory;
  memory.summary = sizeof(TokenFrame) + kAllocation + kPointers;
  memory.statistics = bytes_of(frame.taps) + bytes_of(frame.heads);
  if (frame.logits) {
    const std::uint64_t all = bytes_of(frame.logits->top);
    const std::uint64_t first = std::min<std::uint64_t>(all, sizeof(TopToken) + kAllocation);
    memory.summary += first;
    memory.statistics += all - first;
  }
  if (frame.attention != nullptr) {
    memory.rows = frame.attention->host_bytes() + sizeof(AttentionRows) + kAllocation;
    memory.device_rows = frame.attention->device_bytes();
  }
  return memory;
}

void reduce(TokenFrame& frame, Detail most) {
  if (!has_more(frame, most)) {
    return;
  }
  frame.detail = std::min(frame.detail, most);
  frame.attention.reset();
  if (most < Detail::kStatistics) {
    frame.taps = {};
    frame.heads = {};
    if (frame.logits && frame.logits->top.size() > 1) {
      frame.logits->top = std::vector<TopToken>(1, frame.logits->top.front());
    }
  }
}

std::shared_ptr<const TokenFrame> reduced(const std::shared_ptr<const TokenFrame>& frame,
                                          Detail most) {
  if (!has_more(*frame, most)) {
    return frame;
  }
  // Member by member: statistics of 80 KB must not be copied only to be let go of.
  auto slim = std::make_shared<TokenFrame>();
  slim->serial = frame->serial;
  slim->position = frame->position;
  slim->id = frame->id;
  slim->choice = frame->choice;
  slim->n_layers = frame->n_layers;
  slim->n_heads = frame->n_heads;
  slim->eval_ms = frame->eval_ms;
  slim->detail = std::min(frame->detail, most);
  if (most >= Detail::kStatistics) {
    slim->taps = frame->taps;
    slim->heads = frame->heads;
    slim->logits = frame->logits;
  } else if (frame->logits) {
    const LogitSummary& from = *frame->logits;
    LogitSummary& to = slim->logits.emplace();
    to.best_padded = from.best_padded;
    to.min = from.min;
    to.max = from.max;
    to.mean = from.mean;
    to.entropy = from.entropy;
    to.lse = from.lse;
    to.non_finite = from.non_finite;
    to.raw_argmax = from.raw_argmax;
    if (!from.top.empty()) {
      to.top.assign(1, from.top.front());
    }
  }
  return slim;
}

}  // namespace layerscope::capture

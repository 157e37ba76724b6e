#include "engine/session/history.h"

#include <algorithm>

#include "engine/base/memory.h"

namespace layerscope::session {

using capture::Detail;
using capture::FrameMemory;

std::uint64_t default_history_budget() {
  return std::max(std::uint64_t{512} << 20U, usable_memory() / 4);
}

void History::count(const capture::TokenFrame& frame, int sign) {
  const FrameMemory memory = capture::memory_of(frame);
  const std::uint64_t rows = frame.attention != nullptr ? frame.attention->bytes() : 0;
  if (sign > 0) {
    memory_ += memory;
    row_bytes_ += rows;
  } else {
    memory_ -= memory;
    row_bytes_ -= rows;
  }
  without_rows_ += frame.detail < Detail::kAll ? sign : 0;
  without_statistics_ += frame.detail < Detail::kStatistics ? sign : 0;
}

void History::touch(std::size_t position) {
  const std::size_t chunk = position / kChunkFrames;
  if (!all_touched_ && (touched_.empty() || touched_.back() != chunk)) {
    touched_.push_back(chunk);
  }
}

void History::append(Frame frame) {
  count(*frame, 1);
  touch(frames_.size());
  frames_.push_back(std::move(frame));
}

void History::replace(std::size_t position, Frame frame) {
  count(*frames_[position], -1);
  count(*frame, 1);
  touch(position);
  frames_[position] = std::move(frame);
}

void History::truncate(std::size_t n) {
  if (n >= frames_.size()) {
    return;
  }
  for (std::size_t i = n; i < frames_.size(); ++i) {
    count(*frames_[i], -1);
  }
  if (n % kChunkFrames != 0) {
    touch(n - 1);  // its chunk is shorter now; those behind it go
  }
  frames_.resize(n);
  for (std::size_t* first : {&first_rows_, &first_host_rows_, &first_statistics_}) {
    *first = std::min(*first, n);
  }
}

void History::adopt(Line line) {
  truncate(0);
  all_touched_ = true;
  touched_.clear();
  frames_ = std::move(line);
  for (const Frame& frame : frames_) {
    count(*frame, 1);
  }
}

void History::reduce(std::size_t position, Detail most) {
  const Frame before = frames_[position];
  Frame after = capture::reduced(before, most);
  if (after != before) {
    replace(position, after);
    if (on_reduce) {
      on_reduce(position, before, after);
    }
  }
}

void History::drop_rows(std::uint64_t bytes, std::size_t end) {
  while (row_bytes_ > bytes && first_rows_ < end) {
    reduce(first_rows_++, Detail::kStatistics);
  }
}

void History::limit_rows(std::uint64_t bytes) {
  drop_rows(bytes, frames_.empty() ? 0 : frames_.size() - 1);
}

void History::limit_all_rows(std::uint64_t bytes) { drop_rows(bytes, frames_.size()); }

void History::limit_host(std::uint64_t bytes) {
  const std::size_t end = frames_.size() - std::min(kWhole, frames_.size());
  // Rows that stay on a GPU take a few bytes here; dropping them would free nothing.
  constexpr std::uint64_t kWorthwhile = 1024;
  while (memory_.host() > bytes && first_host_rows_ < end) {
    const std::size_t position = first_host_rows_++;
    const auto& rows = frames_[position]->attention;
    if (rows != nullptr && rows->host_bytes() > kWorthwhile) {
      reduce(position, Detail::kStatistics);
    }
  }
  while (memory_.host() > bytes && first_statistics_ < end) {
    reduce(first_statistics_++, Detail::kSummary);
  }
}

void History::update(std::vector<std::shared_ptr<const FrameChunk>>& chunks) {
  const std::size_t n_chunks = (frames_.size() + kChunkFrames - 1) / kChunkFrames;
  chunks.resize(n_chunks);
  const auto make = [&](std::size_t c) {
    const auto begin = frames_.begin() + static_cast<std::ptrdiff_t>(c * kChunkFrames);
    const auto end = frames_.begin() +
                     static_cast<std::ptrdiff_t>(std::min(frames_.size(), (c + 1) * kChunkFrames));
    auto chunk = std::make_shared<FrameChunk>();
    chunk->frames.assign(begin, end);
    chunks[c] = std::move(chunk);
  };
  if (all_touched_) {
    for (std::size_t c = 0; c < n_chunks; ++c) {
      make(c);
    }
  } else {
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    for (const std::size_t c : touched_) {
      if (c < n_chunks) {
        make(c);
      }
    }
  }
  all_touched_ = false;
  touched_.clear();
}

}  // namespace layerscope::session

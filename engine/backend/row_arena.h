// RowArena: who owns which piece of the memory that holds captured attention rows.
//
// Bookkeeping only: it never touches the memory, so that a frame may be let go of on any thread
// while the worker's GPU goes on. A piece that is handed out again is written by work that the
// backend enqueues later on its one stream, hence after everything that read or wrote it before.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

#include "engine/capture/attention_rows.h"

namespace layerscope::backend {

class RowArena : public std::enable_shared_from_this<RowArena> {
 public:
  /// A piece of the arena; returns it when destroyed.
  class Block final : public capture::RemoteRows {
   public:
    Block(std::shared_ptr<RowArena> arena, std::size_t offset, std::size_t bytes)
        : arena_(std::move(arena)), offset_(offset), bytes_(bytes) {}
    ~Block() override { arena_->release(offset_, bytes_); }
    [[nodiscard]] std::size_t bytes() const override { return bytes_; }
    [[nodiscard]] std::size_t offset() const { return offset_; }
    [[nodiscard]] const RowArena* arena() const { return arena_.get(); }

   private:
    std::shared_ptr<RowArena> arena_;
    std::size_t offset_;
    std::size_t bytes_;
  };

  static constexpr std::size_t kAlignment = 256;

  static std::shared_ptr<RowArena> create(std::size_t bytes) {
    return std::shared_ptr<RowArena>(new RowArena(bytes));  // NOLINT: private constructor
  }

  /// The first free piece that is large enough; null when there is none.
  std::shared_ptr<const Block> take(std::size_t bytes);

  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t free_bytes() const;

 private:
  explicit RowArena(std::size_t bytes);
  void release(std::size_t offset, std::size_t bytes);

  const std::size_t bytes_;
  mutable std::mutex mutex_;
  std::map<std::size_t, std::size_t> free_;  ///< offset → bytes, neighbours merged; under mutex_
};

}  // namespace layerscope::backend

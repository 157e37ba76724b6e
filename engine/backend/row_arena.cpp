#include "engine/backend/row_arena.h"

namespace layerscope::backend {

RowArena::RowArena(std::size_t bytes) : bytes_(bytes / kAlignment * kAlignment) {
  if (bytes_ > 0) {
    free_.emplace(0, bytes_);
  }
}

std::shared_ptr<const RowArena::Block> RowArena::take(std::size_t bytes) {
  const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (size == 0) {
    return nullptr;
  }
  std::size_t offset = 0;
  {
    const std::lock_guard lock(mutex_);
    auto piece = free_.begin();
    while (piece != free_.end() && piece->second < size) {
      ++piece;
    }
    if (piece == free_.end()) {
      return nullptr;
    }
    offset = piece->first;
    const std::size_t left = piece->second - size;
    free_.erase(piece);
    if (left > 0) {
      free_.emplace(offset + size, left);
    }
  }
  return std::make_shared<const Block>(shared_from_this(), offset, size);
}

void RowArena::release(std::size_t offset, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && offset + bytes == next->first) {
    bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  free_.emplace(offset, bytes);
}

std::size_t RowArena::free_bytes() const {
  const std::lock_guard lock(mutex_);
  std::size_t total = 0;
  for (const auto& [offset, bytes] : free_) {
    total += bytes;
  }
  return total;
}

}  // namespace layerscope::backend

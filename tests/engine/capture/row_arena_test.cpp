// Pieces of the memory for attention rows: never two owners, everything comes back, from any
// thread.
#include "engine/backend/row_arena.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace layerscope::backend {
namespace {

using Block = std::shared_ptr<const RowArena::Block>;

TEST(RowArena, PiecesNeverOverlap_AndAllComesBack) {
  const auto arena = RowArena::create(1 << 20);
  std::mt19937 rng(5);
  std::vector<Block> held;
  for (int i = 0; i < 5000; ++i) {
    if (Block block = arena->take(1 + rng() % 20000); block != nullptr) {
      for (const Block& other : held) {
        ASSERT_TRUE(block->offset() + block->bytes() <= other->offset() ||
                    other->offset() + other->bytes() <= block->offset());
      }
      ASSERT_LE(block->offset() + block->bytes(), arena->bytes());
      ASSERT_EQ(block->offset() % RowArena::kAlignment, 0U);
      held.push_back(std::move(block));
    }
    if (held.size() > 40 || rng() % 3 == 0) {
      held.erase(held.begin() +
                 static_cast<std::ptrdiff_t>(rng() % std::max<std::size_t>(1, held.size())));
    }
  }
  std::size_t taken = 0;
  for (const Block& block : held) {
    taken += block->bytes();
  }
  EXPECT_EQ(arena->free_bytes(), arena->bytes() - taken);
  held.clear();
  EXPECT_EQ(arena->free_bytes(), arena->bytes());
  EXPECT_NE(arena->take(arena->bytes()), nullptr) << "neighbours were not merged";
}

TEST(RowArena, FullOrEmpty_GivesNothing) {
  EXPECT_EQ(RowArena::create(0)->take(1), nullptr);
  const auto arena = RowArena::create(1024);
  EXPECT_EQ(arena->take(0), nullptr);
  EXPECT_EQ(arena->take(1025), nullptr);
  const Block all = arena->take(1000);
  ASSERT_NE(all, nullptr);
  EXPECT_EQ(arena->take(1), nullptr);
}

TEST(RowArena, LastOwnersOnOtherThreads_GiveBackSafely) {
  const auto arena = RowArena::create(1 << 16);
  std::atomic<bool> done{false};
  std::mutex mutex;
  std::vector<Block> shared;
  std::thread window([&] {
    while (!done) {
      const std::lock_guard lock(mutex);
      shared.clear();
    }
  });
  for (int i = 0; i < 20000; ++i) {
    Block block = arena->take(256U * static_cast<unsigned>(1 + i % 7));
    const std::lock_guard lock(mutex);
    shared.push_back(std::move(block));
  }
  done = true;
  window.join();
  shared.clear();
  EXPECT_EQ(arena->free_bytes(), arena->bytes());
}

TEST(RowArena, OutlivesItsOwner_WhileAFrameHoldsAPiece) {
  auto arena = RowArena::create(4096);
  Block block = arena->take(100);
  arena.reset();
  EXPECT_EQ(block->bytes(), 256U);
  block.reset();
}

}  // namespace
}  // namespace layerscope::backend

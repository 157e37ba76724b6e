// SlotRing's promises, step by step, and under two threads against a model of what each side may
// see.
#include "gui/interop/slot_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

namespace layerscope::gui::interop {
namespace {

TEST(SlotRing, NothingPublished_NothingToDraw) {
  SlotRing ring;
  EXPECT_FALSE(ring.take(0, 0).has_value());
  const auto slot = ring.acquire();
  ASSERT_TRUE(slot.has_value());
  EXPECT_FALSE(ring.take(9, 9).has_value());
}

TEST(SlotRing, NotReached_StaysWithTheOneBefore) {
  SlotRing ring;
  const int first = *ring.acquire();
  EXPECT_EQ(ring.publish(first), 1U);
  const int second = *ring.acquire();
  EXPECT_EQ(ring.publish(second), 2U);
  EXPECT_FALSE(ring.take(0, 0).has_value());
  EXPECT_EQ(ring.take(1, 0)->slot, first);
  EXPECT_EQ(ring.take(1, 0)->value, 1U);
  EXPECT_EQ(ring.take(2, 0)->slot, second);
}

TEST(SlotRing, FrameInFlight_SlotIsNotWritten) {
  SlotRing ring;
  const int first = *ring.acquire();
  ring.publish(first);
  ASSERT_TRUE(ring.take(1, 0).has_value());
  ring.used_by(7);
  const int second = *ring.acquire();
  ring.publish(second);
  EXPECT_EQ(ring.take(2, 6)->slot, second);  // frame 7 still reads the first
  const auto third = ring.acquire();
  ASSERT_TRUE(third.has_value());
  EXPECT_NE(*third, first);
  EXPECT_NE(*third, second);
  EXPECT_FALSE(ring.acquire().has_value());
  EXPECT_EQ(ring.dropped(), 1U);
  EXPECT_EQ(ring.take(2, 7)->slot, second);  // frame 7 is drawn
  EXPECT_EQ(ring.acquire(), first);
}

TEST(SlotRing, NobodyLooks_OlderOnesAreReplacedAndTheNewestStays) {
  SlotRing ring;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    const auto slot = ring.acquire();
    ASSERT_TRUE(slot.has_value()) << i;
    EXPECT_EQ(ring.publish(*slot), i);
  }
  EXPECT_EQ(ring.dropped(), 0U);
  EXPECT_EQ(ring.take(20, 0)->value, 20U);
}

TEST(SlotRing, Abandoned_IsFreeAgain) {
  SlotRing ring;
  const int slot = *ring.acquire();
  ring.abandon(slot);
  EXPECT_EQ(ring.acquire(), slot);
}

// A writer and a reader that keep marks of which slot they touch: never the same one at a time.
TEST(SlotRing, TwoThreads_NeverTouchTheSameSlot) {
  SlotRing ring;
  std::array<std::atomic<int>, SlotRing::kSlots> owner{};  // 0 none, 1 writer, 2 reader
  std::atomic<bool> clash{false};
  std::atomic<std::uint64_t> reached{0};
  std::thread writer([&] {
    for (int i = 0; i < 20000; ++i) {
      const auto slot = ring.acquire();
      if (!slot) {
        std::this_thread::yield();
        continue;
      }
      if (owner[static_cast<std::size_t>(*slot)].exchange(1) != 0) {
        clash = true;
      }
      owner[static_cast<std::size_t>(*slot)] = 0;
      reached = ring.publish(*slot);
    }
  });
  std::uint64_t last = 0;
  std::mt19937 rng(20260101);
  for (std::uint64_t frame = 1; frame <= 5000 || last == 0; ++frame) {
    const auto shown = ring.take(reached, frame - 1);
    if (!shown) {
      std::this_thread::yield();
      continue;
    }
    ring.used_by(frame);
    EXPECT_GE(shown->value, last);
    last = shown->value;
    if (owner[static_cast<std::size_t>(shown->slot)].exchange(2) == 1) {
      clash = true;
    }
    for (std::uint_fast32_t i = rng() % 50U; i > 0; --i) {
      std::this_thread::yield();
    }
    owner[static_cast<std::size_t>(shown->slot)] = 0;
  }
  writer.join();
  EXPECT_FALSE(clash);
  EXPECT_GT(last, 0U);
}

}  // namespace
}  // namespace layerscope::gui::interop

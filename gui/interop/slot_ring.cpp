#include "gui/interop/slot_ring.h"

namespace layerscope::gui::interop {
namespace {

std::size_t at(int slot) { return static_cast<std::size_t>(slot); }

}  // namespace

std::optional<int> SlotRing::acquire() {
  const std::lock_guard lock(mutex_);
  int oldest = -1;
  int n_ready = 0;
  for (int i = 0; i < kSlots; ++i) {
    const Slot& slot = slots_[at(i)];
    if (slot.state == State::kFree) {
      slots_[at(i)].state = State::kWriting;
      return i;
    }
    if (slot.state == State::kReady) {
      ++n_ready;
      oldest = oldest < 0 || slot.value < slots_[at(oldest)].value ? i : oldest;
    }
  }
  // Of two that nobody looked at the older one may go; the only one must stay, or a slow window
  // would never see any finished.
  if (n_ready >= 2) {
    slots_[at(oldest)].state = State::kWriting;
    return oldest;
  }
  ++dropped_;
  return std::nullopt;
}

std::uint64_t SlotRing::publish(int slot) {
  const std::lock_guard lock(mutex_);
  slots_[at(slot)].state = State::kReady;
  slots_[at(slot)].value = ++value_;
  return value_;
}

void SlotRing::abandon(int slot) {
  const std::lock_guard lock(mutex_);
  slots_[at(slot)].state = State::kFree;
}

std::optional<SlotRing::Published> SlotRing::take(std::uint64_t reached, std::uint64_t finished) {
  const std::lock_guard lock(mutex_);
  int newest = -1;
  for (int i = 0; i < kSlots; ++i) {
    Slot& slot = slots_[at(i)];
    if (slot.state == State::kRetiring && slot.last_frame <= finished) {
      slot.state = State::kFree;
    }
    if (slot.state == State::kReady && slot.value <= reached &&
        (newest < 0 || slot.value > slots_[at(newest)].value)) {
      newest = i;
    }
  }
  if (newest >= 0) {
    for (Slot& slot : slots_) {
      if (slot.state == State::kReady && slot.value < slots_[at(newest)].value) {
        slot.state = State::kFree;  // overtaken, never drawn
      }
    }
    if (shown_ >= 0) {
      Slot& before = slots_[at(shown_)];
      before.state = before.last_frame <= finished ? State::kFree : State::kRetiring;
    }
    shown_ = newest;
    slots_[at(shown_)].state = State::kShown;
    slots_[at(shown_)].last_frame = 0;
  }
  if (shown_ < 0) {
    return std::nullopt;
  }
  return Published{shown_, slots_[at(shown_)].value};
}

void SlotRing::used_by(std::uint64_t frame) {
  const std::lock_guard lock(mutex_);
  if (shown_ >= 0) {
    slots_[at(shown_)].last_frame = frame;
  }
}

std::uint64_t SlotRing::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

std::uint64_t SlotRing::published() const {
  const std::lock_guard lock(mutex_);
  return value_;
}

}  // namespace layerscope::gui::interop

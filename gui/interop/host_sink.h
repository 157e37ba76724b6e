// HostSink: pictures in host memory, for the staging path. The same slots as on the device.
//
// The worker writes a slot while the window reads another; which one is whose is SlotRing's
// business.
#pragma once

#include <array>
#include <mutex>
#include <vector>

#include "engine/backend/draw.h"
#include "gui/interop/slot_ring.h"

namespace layerscope::gui::interop {

/// A picture that the window may draw from until it takes the next one.
struct Picture {
  backend::DrawnFrame frame;
  int slot = -1;
  std::uint64_t value = 0;
  const float* host = nullptr;  ///< its floats; null: they are in device memory
};

/// What DrawSinks share: the ring, and what its slots hold. Any thread.
class PictureRing {
 public:
  std::optional<int> acquire() { return ring_.acquire(); }
  void abandon(int slot) { ring_.abandon(slot); }
  /// Notes what the slot will hold and returns the value to signal; publishing follows at once.
  std::uint64_t publish(int slot, const backend::DrawnFrame& frame);
  std::optional<Picture> take(std::uint64_t reached, std::uint64_t finished);
  void used_by(std::uint64_t frame) { ring_.used_by(frame); }
  [[nodiscard]] std::uint64_t dropped() const { return ring_.dropped(); }
  [[nodiscard]] std::uint64_t published() const { return ring_.published(); }

 private:
  SlotRing ring_;
  std::mutex mutex_;
  std::array<backend::DrawnFrame, SlotRing::kSlots> frames_;  ///< under mutex_
};

/// A sink as the window sees it.
class PictureSource : public backend::DrawSink {
 public:
  /// The newest picture that is complete; frames up to `finished` have been drawn.
  virtual std::optional<Picture> take(std::uint64_t finished) = 0;
  /// Frame `frame` reads the picture taken last.
  virtual void used_by(std::uint64_t frame) = 0;
  /// The GPU was reset: CUDA's side of the memory is gone and must be left alone. The worker must
  /// have let go of it.
  virtual void forget_cuda() {}
};

class HostSink final : public PictureSource {
 public:
  explicit HostSink(std::size_t floats = backend::kDrawFloats) : floats_(floats) {}
  [[nodiscard]] int device() const override { return -1; }
  std::optional<Place> acquire() override;
  Status publish(const Place& place, void* stream, const backend::DrawnFrame& frame) override;
  void abandon(const Place& place) override { ring_.abandon(place.slot); }
  [[nodiscard]] std::uint64_t dropped() const override { return ring_.dropped(); }
  std::optional<Picture> take(std::uint64_t finished) override;
  void used_by(std::uint64_t frame) override { ring_.used_by(frame); }

 private:
  PictureRing ring_;
  std::size_t floats_;
  /// Made when first written; each belongs to whoever the ring says.
  std::array<std::vector<float>, SlotRing::kSlots> memory_;
};

}  // namespace layerscope::gui::interop

// DeviceSink: pictures in memory that CUDA writes and Vulkan reads, with no copy between them.
//
// Created and destroyed on the UI thread: created at any time (only its own memory is touched),
// destroyed when the worker has let go of it and the device has drawn the last frame that reads it.
#pragma once

#include <array>
#include <memory>

#include "gui/interop/host_sink.h"
#include "gui/interop/shared_buffer.h"
#include "gui/interop/shared_timeline.h"

namespace layerscope::gui::interop {

class DeviceSink final : public PictureSource {
 public:
  /// Three slots of `floats` each on the GPU that Vulkan draws with. Errors (kDevice): the sentence
  /// says why nothing can be shared.
  static Result<std::unique_ptr<DeviceSink>> create(const Context& context,
                                                    std::size_t floats = backend::kDrawFloats);

  [[nodiscard]] int device() const override { return cuda_device_; }
  std::optional<Place> acquire() override;
  Status publish(const Place& place, void* stream, const backend::DrawnFrame& frame) override;
  void abandon(const Place& place) override {
    kept_[static_cast<std::size_t>(place.slot)] = false;
    ring_.abandon(place.slot);
  }
  [[nodiscard]] std::uint64_t dropped() const override { return ring_.dropped(); }
  std::optional<Picture> take(std::uint64_t finished) override;
  void used_by(std::uint64_t frame) override { ring_.used_by(frame); }

  [[nodiscard]] std::array<VkBuffer, SlotRing::kSlots> buffers() const;
  [[nodiscard]] VkDeviceSize bytes() const { return slots_[0]->size(); }
  /// Reaches a picture's value when it is written.
  [[nodiscard]] VkSemaphore semaphore() const { return timeline_->semaphore(); }
  void forget_cuda() override;
  /// For tests: pictures are taken before they are written.
  void trust_blindly() { blind_ = true; }

 private:
  DeviceSink() = default;

  int cuda_device_ = 0;
  std::array<std::unique_ptr<SharedBuffer>, SlotRing::kSlots> slots_;
  std::unique_ptr<SharedTimeline> timeline_;
  PictureRing ring_;
  std::array<bool, SlotRing::kSlots> kept_{};  ///< worker: slots that hold a picture
  bool blind_ = false;
};

}  // namespace layerscope::gui::interop

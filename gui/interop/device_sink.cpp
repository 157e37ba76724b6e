#include "gui/interop/device_sink.h"

#include <limits>
#include <utility>

#include "gui/interop/cuda_device.h"

namespace layerscope::gui::interop {

Result<std::unique_ptr<DeviceSink>> DeviceSink::create(const Context& context, std::size_t floats) {
  std::unique_ptr<DeviceSink> sink(new DeviceSink());  // NOLINT: private constructor
  LS_TRY(sink->cuda_device_, find_cuda_device(context));
  for (auto& slot : sink->slots_) {
    LS_TRY(auto buffer, SharedBuffer::create(
                            context, floats * sizeof(float),
                            VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
                            sink->cuda_device_));
    slot = std::make_unique<SharedBuffer>(std::move(buffer));
  }
  LS_TRY(auto timeline, SharedTimeline::create(context, sink->cuda_device_));
  sink->timeline_ = std::make_unique<SharedTimeline>(std::move(timeline));
  return sink;
}

std::optional<backend::DrawSink::Place> DeviceSink::acquire() {
  const auto slot = ring_.acquire();
  if (!slot) {
    return std::nullopt;
  }
  SharedBuffer& buffer = *slots_[static_cast<std::size_t>(*slot)];
  return Place{*slot, static_cast<float*>(buffer.device_pointer()), buffer.size() / sizeof(float),
               kept_[static_cast<std::size_t>(*slot)]};
}

// Published before it is signalled: the window takes it only when the value is reached.
Status DeviceSink::publish(const Place& place, void* stream, const backend::DrawnFrame& frame) {
  kept_[static_cast<std::size_t>(place.slot)] = true;
  return timeline_->signal(stream, ring_.publish(place.slot, frame));
}

std::optional<Picture> DeviceSink::take(std::uint64_t finished) {
  auto reached = timeline_->value();
  return ring_.take(
      blind_ ? std::numeric_limits<std::uint64_t>::max() : (reached.ok() ? reached.value() : 0),
      finished);
}

void DeviceSink::forget_cuda() {
  for (auto& slot : slots_) {
    slot->forget_import();
  }
  timeline_->forget_import();
}

std::array<VkBuffer, SlotRing::kSlots> DeviceSink::buffers() const {
  std::array<VkBuffer, SlotRing::kSlots> all{};
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = slots_[i]->buffer();
  }
  return all;
}

}  // namespace layerscope::gui::interop

#include "gui/interop/host_sink.h"

#include <limits>

namespace layerscope::gui::interop {

std::uint64_t PictureRing::publish(int slot, const backend::DrawnFrame& frame) {
  {
    const std::lock_guard lock(mutex_);
    frames_[static_cast<std::size_t>(slot)] = frame;
  }
  return ring_.publish(slot);
}

std::optional<Picture> PictureRing::take(std::uint64_t reached, std::uint64_t finished) {
  const auto taken = ring_.take(reached, finished);
  if (!taken) {
    return std::nullopt;
  }
  // The slot is the window's now: nobody writes its entry until it is given back.
  const std::lock_guard lock(mutex_);
  return Picture{frames_[static_cast<std::size_t>(taken->slot)], taken->slot, taken->value,
                 nullptr};
}

std::optional<backend::DrawSink::Place> HostSink::acquire() {
  const auto slot = ring_.acquire();
  if (!slot) {
    return std::nullopt;
  }
  std::vector<float>& memory = memory_[static_cast<std::size_t>(*slot)];
  memory.resize(floats_);
  return Place{*slot, memory.data(), memory.size()};
}

Status HostSink::publish(const Place& place, void* /*stream*/, const backend::DrawnFrame& frame) {
  ring_.publish(place.slot, frame);
  return {};
}

std::optional<Picture> HostSink::take(std::uint64_t finished) {
  auto picture = ring_.take(std::numeric_limits<std::uint64_t>::max(), finished);
  if (picture) {
    picture->host = memory_[static_cast<std::size_t>(picture->slot)].data();
  }
  return picture;
}

}  // namespace layerscope::gui::interop

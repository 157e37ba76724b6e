// GpuTimer: how long the device works on the parts of a frame, by timestamps in its commands. Owned
// by the UI thread.
//
// Off until it is asked for. A frame's times are read when its slot is free again, so nothing waits
// for them. Time during which the device does something else between two stamps (another context's
// time slice) is counted too: medians tell more than sums.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "gui/vulkan/context.h"

namespace layerscope::gui {

/// Milliseconds on the device of one frame.
struct GpuTimes {
  double colouring = 0.0;  ///< heatmaps
  double interface = 0.0;  ///< everything that Dear ImGui draws
};

class GpuTimer {
 public:
  static constexpr std::uint32_t kSlots = 2;

  /// Error (kDevice): the query pool was refused. A queue without timestamps measures nothing.
  static Result<GpuTimer> create(const Context& context);

  void enable(bool on) { enabled_ = on && pool_; }
  [[nodiscard]] bool enabled() const { return enabled_; }
  /// In the order begin, coloured, drawn, each once per frame.
  void begin(VkCommandBuffer commands, std::uint32_t slot);
  void coloured(VkCommandBuffer commands, std::uint32_t slot) const { stamp(commands, slot, 1); }
  void drawn(VkCommandBuffer commands, std::uint32_t slot) const { stamp(commands, slot, 2); }
  /// Of the frame that used `slot` last, once; the device must have finished it.
  std::optional<GpuTimes> collect(std::uint32_t slot);

 private:
  static constexpr std::uint32_t kStamps = 3;
  void stamp(VkCommandBuffer commands, std::uint32_t slot, std::uint32_t which) const;

  VkDevice device_ = VK_NULL_HANDLE;
  UniqueQueryPool pool_;
  double ms_per_tick_ = 0.0;
  std::uint64_t mask_ = 0;  ///< valid bits
  bool enabled_ = false;
  std::array<bool, kSlots> written_{};
};

}  // namespace layerscope::gui

#include "gui/vulkan/gpu_timer.h"

#include <vector>

#include "gui/vulkan/check.h"

namespace layerscope::gui {

Result<GpuTimer> GpuTimer::create(const Context& context) {
  GpuTimer timer;
  std::uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(context.physical(), &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(context.physical(), &count, families.data());
  const std::uint32_t bits = families[context.queue_family()].timestampValidBits;
  if (bits == 0) {
    return timer;
  }
  VkQueryPoolCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
  info.queryType = VK_QUERY_TYPE_TIMESTAMP;
  info.queryCount = kSlots * kStamps;
  VkQueryPool pool = VK_NULL_HANDLE;
  LS_VK(vkCreateQueryPool(context.device(), &info, nullptr, &pool));
  timer.device_ = context.device();
  timer.pool_ = UniqueQueryPool(context.device(), pool);
  timer.ms_per_tick_ = static_cast<double>(context.limits().timestampPeriod) * 1e-6;
  timer.mask_ = bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  return timer;
}

void GpuTimer::begin(VkCommandBuffer commands, std::uint32_t slot) {
  written_[slot] = enabled_;
  if (enabled_) {
    vkCmdResetQueryPool(commands, pool_.get(), slot * kStamps, kStamps);
    stamp(commands, slot, 0);
  }
}

void GpuTimer::stamp(VkCommandBuffer commands, std::uint32_t slot, std::uint32_t which) const {
  if (written_[slot]) {
    vkCmdWriteTimestamp2(commands, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, pool_.get(),
                         slot * kStamps + which);
  }
}

std::optional<GpuTimes> GpuTimer::collect(std::uint32_t slot) {
  if (!written_[slot]) {
    return std::nullopt;
  }
  written_[slot] = false;
  std::array<std::uint64_t, kStamps> ticks{};
  if (vkGetQueryPoolResults(device_, pool_.get(), slot * kStamps, kStamps, sizeof(ticks),
                            ticks.data(), sizeof(ticks[0]), VK_QUERY_RESULT_64_BIT) != VK_SUCCESS) {
    return std::nullopt;
  }
  const auto between = [&](std::size_t from, std::size_t to) {
    return static_cast<double>((ticks[to] - ticks[from]) & mask_) * ms_per_tick_;
  };
  return GpuTimes{between(0, 1), between(1, 2)};
}

}  // namespace layerscope::gui

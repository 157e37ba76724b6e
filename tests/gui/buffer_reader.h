// Reads a device buffer back through Vulkan's queue, after a timeline semaphore where asked.
#pragma once

#include <cstdint>

#include "gui/vulkan/check.h"
#include "gui/vulkan/context.h"

namespace layerscope::gui {

/// Reads a buffer back through Vulkan's queue.
class BufferReader {
 public:
  Status prepare(const Context& context, VkDeviceSize bytes) {
    context_ = &context;
    bytes_ = bytes;
    LS_TRY(host_, context.make_buffer(
                      bytes_, VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT));
    VkCommandPoolCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
    info.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
    info.queueFamilyIndex = context.queue_family();
    VkCommandPool pool = VK_NULL_HANDLE;
    LS_VK(vkCreateCommandPool(context.device(), &info, nullptr, &pool));
    pool_ = UniqueCommandPool(context.device(), pool);
    VkCommandBufferAllocateInfo allocate{};
    allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
    allocate.commandPool = pool;
    allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    allocate.commandBufferCount = 1;
    LS_VK(vkAllocateCommandBuffers(context.device(), &allocate, &commands_));
    return {};
  }

  /// Copies after `timeline` reached `wait_for` (0: at once), then signals `done`.
  Status read(VkBuffer from, VkSemaphore timeline, std::uint64_t wait_for, std::uint64_t done) {
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    LS_VK(vkBeginCommandBuffer(commands_, &begin));
    const VkBufferCopy region{0, 0, bytes_};
    vkCmdCopyBuffer(commands_, from, host_.buffer.get(), 1, &region);
    VkMemoryBarrier2 barrier{};
    barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2;
    barrier.srcStageMask = VK_PIPELINE_STAGE_2_COPY_BIT;
    barrier.srcAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT;
    barrier.dstStageMask = VK_PIPELINE_STAGE_2_HOST_BIT;
    barrier.dstAccessMask = VK_ACCESS_2_HOST_READ_BIT;
    VkDependencyInfo dependency{};
    dependency.sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO;
    dependency.memoryBarrierCount = 1;
    dependency.pMemoryBarriers = &barrier;
    vkCmdPipelineBarrier2(commands_, &dependency);
    LS_VK(vkEndCommandBuffer(commands_));

    VkSemaphoreSubmitInfo wait{};
    wait.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO;
    wait.semaphore = timeline;
    wait.value = wait_for;
    wait.stageMask = VK_PIPELINE_STAGE_2_COPY_BIT;
    VkSemaphoreSubmitInfo signal = wait;
    signal.value = done;
    signal.stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
    VkCommandBufferSubmitInfo commands{};
    commands.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO;
    commands.commandBuffer = commands_;
    VkSubmitInfo2 submit{};
    submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2;
    submit.waitSemaphoreInfoCount = wait_for > 0 ? 1 : 0;
    submit.pWaitSemaphoreInfos = &wait;
    submit.commandBufferInfoCount = 1;
    submit.pCommandBufferInfos = &commands;
    submit.signalSemaphoreInfoCount = done > 0 ? 1 : 0;
    submit.pSignalSemaphoreInfos = &signal;
    LS_VK(vkQueueSubmit2(context_->queue(), 1, &submit, VK_NULL_HANDLE));
    LS_VK(vkQueueWaitIdle(context_->queue()));
    return {};
  }

  /// What the last copy brought.
  [[nodiscard]] const std::uint8_t* bytes() const {
    return static_cast<const std::uint8_t*>(host_.mapped);
  }

 private:
  const Context* context_ = nullptr;
  VkDeviceSize bytes_ = 0;
  Buffer host_;
  UniqueCommandPool pool_;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
};

}  // namespace layerscope::gui

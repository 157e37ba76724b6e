// Memory and ordering shared between CUDA and Vulkan: what a stream wrote before it signalled is
// what Vulkan reads after it waited. The oracle is the byte that was asked for, counted on the
// host.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "gui/interop/cuda_device.h"
#include "gui/interop/shared_buffer.h"
#include "gui/interop/shared_timeline.h"
#include "gui/vulkan/check.h"

namespace layerscope::gui::interop {
namespace {

constexpr VkDeviceSize kBytes = VkDeviceSize{16} << 20U;

/// Reads a shared buffer back through Vulkan's queue.
class Reader {
 public:
  Status prepare(const Context& context) {
    context_ = &context;
    LS_TRY(host_, context.make_buffer(
                      kBytes, VK_BUFFER_USAGE_TRANSFER_DST_BIT,
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
  Status read(const SharedBuffer& from, const SharedTimeline& timeline, std::uint64_t wait_for,
              std::uint64_t done) {
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    LS_VK(vkBeginCommandBuffer(commands_, &begin));
    const VkBufferCopy region{0, 0, kBytes};
    vkCmdCopyBuffer(commands_, from.buffer(), host_.buffer.get(), 1, &region);
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
    wait.semaphore = timeline.semaphore();
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

  /// Bytes of the last copy that are not `expected`.
  [[nodiscard]] std::size_t wrong(std::uint8_t expected) const {
    const auto* bytes = static_cast<const std::uint8_t*>(host_.mapped);
    std::size_t n = 0;
    for (std::size_t i = 0; i < kBytes; ++i) {
      n += bytes[i] == expected ? 0 : 1;
    }
    return n;
  }

 private:
  const Context* context_ = nullptr;
  Buffer host_;
  UniqueCommandPool pool_;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
};

class Interop : public testing::Test {
 protected:
  void SetUp() override {
    ContextOptions options;
    options.validation = true;
    auto context = Context::create(options);
    if (!context.ok()) {
      GTEST_SKIP() << context.error().message;
    }
    context_ = std::move(context).value();
    const auto device = find_cuda_device(*context_);
    if (!device.ok()) {
      GTEST_SKIP() << device.error().message;
    }
    device_ = device.value();
    ASSERT_EQ(cudaSetDevice(device_), cudaSuccess);
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    auto buffer =
        SharedBuffer::create(*context_, kBytes, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, device_);
    ASSERT_TRUE(buffer.ok()) << buffer.error().message;
    buffer_ = std::make_unique<SharedBuffer>(std::move(buffer).value());
    auto timeline = SharedTimeline::create(*context_, device_);
    ASSERT_TRUE(timeline.ok()) << timeline.error().message;
    timeline_ = std::make_unique<SharedTimeline>(std::move(timeline).value());
    const Status ready = reader_.prepare(*context_);
    ASSERT_TRUE(ready.ok()) << ready.error().message;
  }
  void TearDown() override {
    if (stream_ != nullptr) {
      cudaStreamSynchronize(stream_);
      cudaStreamDestroy(stream_);
    }
    if (context_ != nullptr) {
      context_->wait_idle();
      EXPECT_EQ(context_->validation_errors(), 0U);
    }
  }

  /// The stream fills the buffer, late: a signal that comes too early shows as old bytes.
  void write_late(std::uint8_t value) {
    const auto pause = [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(30)); };
    ASSERT_EQ(cudaLaunchHostFunc(stream_, pause, nullptr), cudaSuccess);
    ASSERT_EQ(cudaMemsetAsync(buffer_->device_pointer(), value, kBytes, stream_), cudaSuccess);
  }

  std::unique_ptr<Context> context_;
  int device_ = 0;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<SharedBuffer> buffer_;
  std::unique_ptr<SharedTimeline> timeline_;
  Reader reader_;
};

TEST_F(Interop, RoundTrips_VulkanReadsWhatTheStreamWrote) {
  std::uint64_t at = 0;
  for (int round = 1; round <= 20; ++round) {
    const auto value = static_cast<std::uint8_t>(round);
    ASSERT_TRUE(timeline_->wait(stream_, at).ok());  // until Vulkan has read the round before
    write_late(value);
    ASSERT_TRUE(timeline_->signal(stream_, at + 1).ok());
    const Status status = reader_.read(*buffer_, *timeline_, at + 1, at + 2);
    ASSERT_TRUE(status.ok()) << status.error().message;
    ASSERT_EQ(reader_.wrong(value), 0U) << "round " << round;
    at += 2;
    const auto reached = timeline_->value();
    ASSERT_TRUE(reached.ok());
    EXPECT_EQ(reached.value(), at);
  }
}

// Without the wait Vulkan reads the old bytes: so the test above does prove the ordering.
TEST_F(Interop, WithoutTheSemaphore_VulkanReadsOldBytes) {
  ASSERT_EQ(cudaMemsetAsync(buffer_->device_pointer(), 1, kBytes, stream_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  write_late(2);
  const Status status = reader_.read(*buffer_, *timeline_, 0, 0);
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_GT(reader_.wrong(2), 0U);
}

}  // namespace
}  // namespace layerscope::gui::interop

// The instrument itself: what the validation layer reports is counted, races between commands
// included, so that "0 messages" in other tests means something. Skipped without the layer.
#include <gtest/gtest.h>

#include "gui/vulkan/check.h"
#include "gui/vulkan/context.h"

namespace layerscope::gui {
namespace {

class Validation : public ::testing::Test {
 protected:
  void SetUp() override {
    ContextOptions options;
    options.validation = true;
    options.problems = problems_;
    auto context = Context::create(options);
    if (!context.ok()) {
      GTEST_SKIP() << context.error().message;
    }
    context_ = std::move(context).value();
    if (!context_->validating()) {
      GTEST_SKIP() << "the validation layer is not installed";
    }
    ASSERT_EQ(*problems_, 0U);
  }

  /// Fills one buffer twice in one batch, with a barrier between or without.
  Status fill_twice(bool barrier) {
    LS_TRY(const Buffer buffer, context_->make_buffer(4096, VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                                                      VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT));
    VkCommandPoolCreateInfo pool_info{};
    pool_info.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
    pool_info.queueFamilyIndex = context_->queue_family();
    VkCommandPool raw = VK_NULL_HANDLE;
    LS_VK(vkCreateCommandPool(context_->device(), &pool_info, nullptr, &raw));
    const UniqueCommandPool pool(context_->device(), raw);
    VkCommandBufferAllocateInfo allocate{};
    allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
    allocate.commandPool = raw;
    allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    allocate.commandBufferCount = 1;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    LS_VK(vkAllocateCommandBuffers(context_->device(), &allocate, &commands));
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    LS_VK(vkBeginCommandBuffer(commands, &begin));
    vkCmdFillBuffer(commands, buffer.buffer.get(), 0, VK_WHOLE_SIZE, 1);
    if (barrier) {
      VkMemoryBarrier2 order{};
      order.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2;
      order.srcStageMask = order.dstStageMask = VK_PIPELINE_STAGE_2_ALL_TRANSFER_BIT;
      order.srcAccessMask = order.dstAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT;
      VkDependencyInfo dependency{};
      dependency.sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO;
      dependency.memoryBarrierCount = 1;
      dependency.pMemoryBarriers = &order;
      vkCmdPipelineBarrier2(commands, &dependency);
    }
    vkCmdFillBuffer(commands, buffer.buffer.get(), 0, VK_WHOLE_SIZE, 2);
    LS_VK(vkEndCommandBuffer(commands));
    VkCommandBufferSubmitInfo one{};
    one.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO;
    one.commandBuffer = commands;
    VkSubmitInfo2 batch{};
    batch.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2;
    batch.commandBufferInfoCount = 1;
    batch.pCommandBufferInfos = &one;
    LS_CHECK(context_->submit(batch));
    return context_->wait_queue();
  }

  std::shared_ptr<std::atomic<std::uint32_t>> problems_ =
      std::make_shared<std::atomic<std::uint32_t>>(0);
  std::unique_ptr<Context> context_;
};

TEST_F(Validation, RaceBetweenCommands_IsReported) {
  ASSERT_TRUE(fill_twice(true).ok());
  EXPECT_EQ(*problems_, 0U);
  ASSERT_TRUE(fill_twice(false).ok());
  EXPECT_GT(*problems_, 0U) << "the layer does not check synchronisation";
}

TEST_F(Validation, ObjectLeftBehind_IsReportedAfterTheEnd) {
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = 64;
  info.usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  VkBuffer buffer = VK_NULL_HANDLE;
  ASSERT_EQ(vkCreateBuffer(context_->device(), &info, nullptr, &buffer), VK_SUCCESS);
  EXPECT_EQ(*problems_, 0U);
  context_.reset();
  EXPECT_GT(*problems_, 0U);
}

// What a rehearsed loss looks like from outside, call by call.
TEST(Loss, Rehearsed_StaysAndEveryCallSaysSo) {
  ContextOptions options;
  options.rehearse = {DeviceCall::kWait, 2};
  auto made = Context::create(options);
  if (!made.ok()) {
    GTEST_SKIP() << made.error().message;
  }
  const Context& context = *made.value();
  EXPECT_TRUE(context.wait_queue().ok());
  EXPECT_FALSE(context.lost());
  const Status second = context.wait_queue();
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kDevice);
  EXPECT_NE(second.error().message.find("VK_ERROR_DEVICE_LOST in vkQueueWaitIdle"),
            std::string::npos)
      << second.error().message;
  EXPECT_TRUE(context.lost());
  EXPECT_FALSE(context.submit(VkSubmitInfo2{}).ok());
  EXPECT_FALSE(context.reached(VK_NULL_HANDLE).ok());
}

}  // namespace
}  // namespace layerscope::gui

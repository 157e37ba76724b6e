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
#include "tests/gui/buffer_reader.h"
#include "tests/gui/on_device.h"

namespace layerscope::gui::interop {
namespace {

constexpr VkDeviceSize kBytes = VkDeviceSize{16} << 20U;

class Interop : public OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (context_ == nullptr) {
      return;
    }
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
    const Status ready = reader_.prepare(*context_, kBytes);
    ASSERT_TRUE(ready.ok()) << ready.error().message;
  }
  void TearDown() override {
    if (stream_ != nullptr) {
      cudaStreamSynchronize(stream_);
      cudaStreamDestroy(stream_);
    }
    if (context_ != nullptr) {
      context_->wait_idle();
    }
    OnDevice::TearDown();
  }

  /// The stream fills the buffer, late: a signal that comes too early shows as old bytes.
  void write_late(std::uint8_t value) {
    const auto pause = [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(30)); };
    ASSERT_EQ(cudaLaunchHostFunc(stream_, pause, nullptr), cudaSuccess);
    ASSERT_EQ(cudaMemsetAsync(buffer_->device_pointer(), value, kBytes, stream_), cudaSuccess);
  }

  /// Bytes of the last copy that are not `expected`.
  [[nodiscard]] std::size_t wrong(std::uint8_t expected) const {
    std::size_t n = 0;
    for (std::size_t i = 0; i < kBytes; ++i) {
      n += reader_.bytes()[i] == expected ? 0 : 1;
    }
    return n;
  }

  int device_ = 0;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<SharedBuffer> buffer_;
  std::unique_ptr<SharedTimeline> timeline_;
  BufferReader reader_;
};

TEST_F(Interop, RoundTrips_VulkanReadsWhatTheStreamWrote) {
  std::uint64_t at = 0;
  for (int round = 1; round <= 20; ++round) {
    const auto value = static_cast<std::uint8_t>(round);
    ASSERT_TRUE(timeline_->wait(stream_, at).ok());  // until Vulkan has read the round before
    write_late(value);
    ASSERT_TRUE(timeline_->signal(stream_, at + 1).ok());
    const Status status = reader_.read(buffer_->buffer(), timeline_->semaphore(), at + 1, at + 2);
    ASSERT_TRUE(status.ok()) << status.error().message;
    ASSERT_EQ(wrong(value), 0U) << "round " << round;
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
  const Status status = reader_.read(buffer_->buffer(), timeline_->semaphore(), 0, 0);
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_GT(wrong(2), 0U);
}

}  // namespace
}  // namespace layerscope::gui::interop

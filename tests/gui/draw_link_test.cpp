// The whole way of a picture: the CUDA backend draws into a shared slot, Vulkan reads it when the
// timeline says so. The oracle is the same picture by way of host memory, byte for byte.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cstring>
#include <thread>

#include "gui/interop/device_sink.h"
#include "tests/gpu/cuda_generator.h"
#include "tests/gui/buffer_reader.h"
#include "tests/gui/on_device.h"

namespace layerscope::gui::interop {
namespace {

using backend::DrawRequest;

/// Holds every picture but the first back for a while, so that whoever does not wait reads old
/// bytes.
class LateSink final : public backend::DrawSink {
 public:
  explicit LateSink(DeviceSink& inner) : inner_(inner) {}
  [[nodiscard]] int device() const override { return inner_.device(); }
  std::optional<Place> acquire() override {
    const auto pause = [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(20)); };
    if (stream_ != nullptr) {
      EXPECT_EQ(cudaLaunchHostFunc(stream_, pause, nullptr), cudaSuccess);
    }
    return inner_.acquire();
  }
  Status publish(const Place& place, void* stream, const backend::DrawnFrame& frame) override {
    stream_ = static_cast<cudaStream_t>(stream);
    return inner_.publish(place, stream, frame);
  }
  void abandon(const Place& place) override { inner_.abandon(place); }
  [[nodiscard]] std::uint64_t dropped() const override { return inner_.dropped(); }

 private:
  DeviceSink& inner_;
  cudaStream_t stream_ = nullptr;
};

class DrawLink : public OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (context_ == nullptr) {
      return;
    }
    auto sink = DeviceSink::create(*context_);
    if (!sink.ok()) {
      GTEST_SKIP() << sink.error().message;
    }
    sink_ = std::move(sink).value();
    ASSERT_TRUE(reader_.prepare(*context_, sink_->bytes()).ok());
    const auto model = layerscope::testing::load(layerscope::testing::demo_model());
    backend::BackendOptions choice{"cuda", 1, 256};
    choice.gpu = sink_->device();
    choice.draw = true;
    auto backend = backend::create_backend(model, choice);
    ASSERT_TRUE(backend.ok()) << backend.error().message;
    generator_ = std::make_unique<session::Generator>(model, std::move(backend).value());
    generator_->capture.tier = capture::Tier::kAttention;
    ASSERT_TRUE(generator_->evaluate(std::vector<std::int32_t>{4, 8, 15, 16, 23}, false, {}).ok());
    request_.thumbnails = true;
    request_.map.layer = 1;
    request_.map.head = 2;
    request_.row_layer = 1;
    request_.row_head = 2;
    request_.stats = {capture::Tap::kResidOut, backend::Statistic::kL2, true, true, -1};
  }
  void TearDown() override {
    generator_.reset();  // the stream first, then what it wrote to
    sink_.reset();
    OnDevice::TearDown();
  }

  bool made(backend::DrawSink& sink) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      const auto drawn = generator_->draw(request_, 1, sink, {});
      EXPECT_TRUE(drawn.ok()) << (drawn.ok() ? "" : drawn.error().message);
      if (!drawn.ok() || drawn.value()) {
        return drawn.ok();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  /// Bytes of a picture read through Vulkan that are not those of the picture on the host; −1: no
  /// picture arrived.
  long wrong_bytes(bool wait) {
    std::optional<Picture> picture;
    for (int attempt = 0; attempt < 2000; ++attempt) {
      picture = sink_->take(frame_);
      if (picture && picture->value > seen_) {
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (!picture || picture->value <= seen_) {
      return -1;
    }
    seen_ = picture->value;
    const Status status = reader_.read(sink_->buffers()[static_cast<std::size_t>(picture->slot)],
                                       sink_->semaphore(), wait ? picture->value : 0, 0);
    EXPECT_TRUE(status.ok());
    sink_->used_by(++frame_);
    HostSink host;
    if (!made(host)) {
      return -1;
    }
    const auto expected = host.take(0);
    long wrong = 0;
    const backend::DrawnFrame& f = expected->frame;
    for (const backend::DrawGrid* grid : {&f.thumbnails, &f.map, &f.row, &f.stats.map,
                                          &f.stats.profile, &f.stats.bars, &f.stats.series}) {
      EXPECT_FALSE(grid->empty());
      for (std::size_t i = grid->offset; i < grid->offset + grid->floats(); ++i) {
        std::uint32_t read = 0;
        std::memcpy(&read, reader_.bytes() + i * sizeof(float), sizeof(read));
        wrong += read != std::bit_cast<std::uint32_t>(expected->host[i]) ? 1 : 0;
      }
    }
    EXPECT_EQ(picture->frame.n_tokens, expected->frame.n_tokens);
    return wrong;
  }

  std::unique_ptr<DeviceSink> sink_;
  std::unique_ptr<session::Generator> generator_;
  BufferReader reader_;
  DrawRequest request_;
  std::uint64_t frame_ = 0, seen_ = 0;
};

TEST_F(DrawLink, Pictures_ReadByVulkan_AreThoseOfTheHost) {
  LateSink late(*sink_);
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(generator_->append(3 + round, capture::Origin::kForced, {}).ok());
    const std::uint64_t before = generator_->backend().drawn_bytes_to_host();
    ASSERT_TRUE(made(late));
    EXPECT_EQ(generator_->backend().drawn_bytes_to_host(), before) << "bytes went to the host";
    ASSERT_EQ(wrong_bytes(true), 0) << "round " << round;
  }
}

// The same without the semaphore: old bytes are read, so the test above does prove the order.
TEST_F(DrawLink, WithoutTheSemaphore_OldBytesAreRead) {
  LateSink late(*sink_);
  sink_->trust_blindly();
  long wrong = 0;
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(generator_->append(3 + round, capture::Origin::kForced, {}).ok());
    ASSERT_TRUE(made(late));
    const long bytes = wrong_bytes(false);
    ASSERT_GE(bytes, 0);
    wrong += bytes;
  }
  EXPECT_GT(wrong, 0);
}

}  // namespace
}  // namespace layerscope::gui::interop

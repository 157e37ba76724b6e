// A small image drawn on any Vulkan device, software included, and read back; skipped without one.
#pragma once

#include <imgui.h>

#include <memory>
#include <utility>

#include "gui/vulkan/offscreen_target.h"
#include "gui/vulkan/renderer.h"
#include "tests/gui/on_device.h"

namespace layerscope::gui {

inline constexpr std::uint32_t kSize = 64;

class DeviceImage : public OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (context_ == nullptr) {
      return;
    }
    ImGui::CreateContext();
    ImGui::GetIO().IniFilename = nullptr;
    auto target = OffscreenTarget::create(*context_, {kSize, kSize}, VK_FORMAT_R8G8B8A8_UNORM);
    ASSERT_TRUE(target.ok()) << target.error().message;
    target_ = std::move(target).value();
    auto renderer = Renderer::create(*context_, *target_, "test");
    ASSERT_TRUE(renderer.ok()) << renderer.error().message;
    renderer_ = std::move(renderer).value();
  }
  void TearDown() override {
    renderer_.reset();
    target_.reset();
    if (ImGui::GetCurrentContext() != nullptr) {
      ImGui::DestroyContext();
    }
    OnDevice::TearDown();
  }

  /// Draws one frame with a texture stretched over the whole image and reads it back.
  template <class Make>
  Pixels draw_texture(const Make& make) {
    EXPECT_TRUE(renderer_->begin().ok());
    ImGui::GetIO().DisplaySize = ImVec2(kSize, kSize);
    ImGui::GetIO().DeltaTime = 1.0F / 60.0F;
    ImGui::NewFrame();
    const TextureHandle texture = make();
    EXPECT_NE(texture, 0U);
    ImGui::GetBackgroundDrawList()->AddImage(static_cast<ImTextureID>(texture), {0, 0},
                                             {kSize, kSize});
    ImGui::Render();
    EXPECT_TRUE(renderer_->end().ok());
    auto pixels = renderer_->capture();
    EXPECT_TRUE(pixels.ok());
    return pixels.ok() ? pixels.value() : Pixels{};
  }

  std::unique_ptr<OffscreenTarget> target_;
  std::unique_ptr<Renderer> renderer_;
};

}  // namespace layerscope::gui

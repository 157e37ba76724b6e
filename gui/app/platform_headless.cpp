// No window: input comes from a script, waiting is a condition variable.
#include <imgui.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "gui/app/platform.h"

namespace layerscope::gui {
namespace {

class HeadlessPlatform final : public Platform {
 public:
  explicit HeadlessPlatform(const PlatformOptions& options)
      : width_(options.width),
        height_(options.height),
        scale_(options.scale > 0.0F ? options.scale : 1.0F) {
    ImGui::GetIO().BackendPlatformName = "layerscope_offscreen";
    ImGui::GetIO().BackendFlags |= ImGuiBackendFlags_HasMouseCursors;
  }

  void wait(double seconds) override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return woken_; });
  }
  void wake() override {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    changed_.notify_one();
  }
  Events take_events() override {
    const std::lock_guard lock(mutex_);
    return {false, std::exchange(woken_, false)};
  }
  void new_frame() override {
    ImGuiIO& io = ImGui::GetIO();
    io.DisplaySize = ImVec2(static_cast<float>(width_), static_cast<float>(height_));
    io.DeltaTime = 1.0F / 60.0F;
  }
  [[nodiscard]] bool close_requested() const override { return false; }
  [[nodiscard]] float scale() const override { return scale_; }
  void resize(int width, int height) override {
    width_ = width;
    height_ = height;
  }
  void set_title(const std::string& /*title*/) override {}
  std::vector<std::string> take_drops() override { return {}; }
  [[nodiscard]] int width() const override { return width_; }
  [[nodiscard]] int height() const override { return height_; }
  [[nodiscard]] GLFWwindow* window() const override { return nullptr; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = true;
  int width_;
  int height_;
  float scale_;
};

}  // namespace

std::unique_ptr<Platform> make_headless_platform(const PlatformOptions& options) {
  return std::make_unique<HeadlessPlatform>(options);
}

}  // namespace layerscope::gui

// WindowTarget: the swapchain of a GLFW window. Owned by the UI thread.
//
// The window must outlive the target. Resizing and minimising are handled by rebuilding the
// swapchain on the next frame; while the window has no area, frames are skipped.
#pragma once

#include <memory>
#include <vector>

#include "gui/vulkan/context.h"
#include "gui/vulkan/target.h"

struct GLFWwindow;

namespace layerscope::gui {

/// Instance extensions that GLFW asks for. Error (kDevice): no Vulkan loader or no window system.
Result<std::vector<const char*>> window_instance_extensions();

/// Whether a queue family of a device can present to windows.
bool window_can_present(VkInstance instance, VkPhysicalDevice device, std::uint32_t family);

class WindowTarget : public RenderTarget {
 public:
  static Result<std::unique_ptr<WindowTarget>> create(const Context& context, GLFWwindow* window);
  ~WindowTarget() override;
  WindowTarget(const WindowTarget&) = delete;
  WindowTarget& operator=(const WindowTarget&) = delete;

  [[nodiscard]] VkFormat format() const override { return format_.format; }
  [[nodiscard]] VkExtent2D extent() const override { return extent_; }
  [[nodiscard]] bool takes_copies() const override { return takes_copies_; }
  Result<TargetImage> acquire(std::uint32_t slot) override;
  Status present() override;

 private:
  WindowTarget(const Context& context, GLFWwindow* window) : context_(context), window_(window) {}
  Status create_surface();
  Status rebuild();

  const Context& context_;
  GLFWwindow* window_;
  VkSurfaceKHR surface_ = VK_NULL_HANDLE;
  VkSurfaceFormatKHR format_{};
  VkExtent2D extent_{};
  bool takes_copies_ = false;
  UniqueSwapchain swapchain_;
  std::vector<VkImage> images_;
  std::vector<UniqueImageView> views_;
  std::vector<UniqueSemaphore> acquired_;  ///< one per frame slot
  std::vector<UniqueSemaphore> drawn_;     ///< one per image
  std::uint32_t index_ = 0;                ///< image acquired last
  bool stale_ = true;
};

}  // namespace layerscope::gui

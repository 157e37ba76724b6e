// RenderTarget: where a frame goes — the swapchain of a window or an image without one. The
// renderer treats both alike; only acquiring and showing differ.
#pragma once

#include <vulkan/vulkan.h>

#include "engine/base/result.h"

namespace layerscope::gui {

/// One image to draw into. `wait` and `done` are binary semaphores or null.
struct TargetImage {
  bool available = false;  ///< false: nothing to draw into now (minimised, resized); skip the frame
  VkImage image = VK_NULL_HANDLE;
  VkImageView view = VK_NULL_HANDLE;
  VkExtent2D extent{};
  bool storage = false;               ///< RGBA8, and shaders may write it
  VkSemaphore wait = VK_NULL_HANDLE;  ///< wait for it before drawing
  VkSemaphore done = VK_NULL_HANDLE;  ///< signal it when drawn
  VkImageLayout final_layout = VK_IMAGE_LAYOUT_UNDEFINED;
};

class RenderTarget {
 public:
  virtual ~RenderTarget() = default;
  /// The pixel format, fixed for the life of the target.
  [[nodiscard]] virtual VkFormat format() const = 0;
  [[nodiscard]] virtual VkExtent2D extent() const = 0;
  /// Whether its images can be copied into.
  [[nodiscard]] virtual bool takes_copies() const = 0;
  /// Acquires the next image for frame slot `slot`.
  virtual Result<TargetImage> acquire(std::uint32_t slot) = 0;
  /// Shows the image after its commands were submitted.
  virtual Status present() = 0;
};

}  // namespace layerscope::gui

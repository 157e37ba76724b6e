// OffscreenTarget: renders into an image; no display is needed. Owned by the UI thread.
#pragma once

#include <memory>

#include "gui/vulkan/image_memory.h"
#include "gui/vulkan/target.h"

namespace layerscope::gui {

class OffscreenTarget : public RenderTarget {
 public:
  /// Errors (kUsage): a size of zero or beyond the device's limit.
  static Result<std::unique_ptr<OffscreenTarget>> create(const Context& context, VkExtent2D extent,
                                                         VkFormat format);
  ~OffscreenTarget() override;

  /// Another size; waits for the device first.
  Status resize(VkExtent2D extent);

  [[nodiscard]] VkFormat format() const override { return format_; }
  [[nodiscard]] VkExtent2D extent() const override { return extent_; }
  [[nodiscard]] bool takes_copies() const override { return true; }
  Result<TargetImage> acquire(std::uint32_t slot) override;
  Status present() override { return {}; }

 private:
  OffscreenTarget(const Context& context, VkFormat format);

  const Context& context_;
  ImageMemory memory_;
  VkFormat format_;
  VkExtent2D extent_{};
  PooledImage image_;
};

}  // namespace layerscope::gui

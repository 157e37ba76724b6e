#include "gui/vulkan/offscreen_target.h"

#include <fmt/format.h>

namespace layerscope::gui {

OffscreenTarget::OffscreenTarget(const Context& context, VkFormat format)
    : context_(context), memory_(context), format_(format) {}

Result<std::unique_ptr<OffscreenTarget>> OffscreenTarget::create(const Context& context,
                                                                 VkExtent2D extent,
                                                                 VkFormat format) {
  std::unique_ptr<OffscreenTarget> target(new OffscreenTarget(context, format));
  LS_CHECK(target->resize(extent));
  return target;
}

OffscreenTarget::~OffscreenTarget() { destroy_image(memory_, image_); }

Status OffscreenTarget::resize(VkExtent2D extent) {
  const std::uint32_t limit = context_.limits().maxImageDimension2D;
  if (extent.width == 0 || extent.height == 0 || extent.width > limit || extent.height > limit) {
    return usage_error(fmt::format("cannot render {}x{} pixels: {} allows 1 to {} on each side",
                                   extent.width, extent.height, context_.device_name(), limit));
  }
  context_.wait_idle();
  destroy_image(memory_, image_);
  VkImageUsageFlags usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT |
                            VK_IMAGE_USAGE_TRANSFER_DST_BIT;
  if (format_ == VK_FORMAT_R8G8B8A8_UNORM) {  // which every device lets shaders write
    usage |= VK_IMAGE_USAGE_STORAGE_BIT;
  }
  LS_TRY(image_, make_image(context_, memory_, extent, format_, usage));
  extent_ = extent;
  return {};
}

Result<TargetImage> OffscreenTarget::acquire(std::uint32_t /*slot*/) {
  TargetImage target;
  target.available = true;
  target.image = image_.image.get();
  target.view = image_.view.get();
  target.extent = extent_;
  target.storage = format_ == VK_FORMAT_R8G8B8A8_UNORM;
  target.final_layout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL;
  return target;
}

}  // namespace layerscope::gui

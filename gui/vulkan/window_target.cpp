#include "gui/vulkan/window_target.h"

#include <GLFW/glfw3.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "gui/vulkan/check.h"
#include "gui/vulkan/renderer.h"

namespace layerscope::gui {
namespace {

constexpr std::uint64_t kAcquireWait = 500'000'000;  ///< nanoseconds

}  // namespace

Result<std::vector<const char*>> window_instance_extensions() {
  if (glfwVulkanSupported() == GLFW_FALSE) {
    return device_error(
        "no Vulkan loader or driver was found; install one (on Debian: mesa-vulkan-drivers)");
  }
  std::uint32_t count = 0;
  const char** names = glfwGetRequiredInstanceExtensions(&count);
  if (names == nullptr) {
    return device_error("Vulkan cannot draw to this window system; use --offscreen WxH");
  }
  return std::vector<const char*>(names, names + count);
}

bool window_can_present(VkInstance instance, VkPhysicalDevice device, std::uint32_t family) {
  return glfwGetPhysicalDevicePresentationSupport(instance, device, family) == GLFW_TRUE;
}

Result<std::unique_ptr<WindowTarget>> WindowTarget::create(const Context& context,
                                                           GLFWwindow* window) {
  std::unique_ptr<WindowTarget> target(new WindowTarget(context, window));
  LS_CHECK(target->create_surface());
  LS_CHECK(target->rebuild());
  return target;
}

WindowTarget::~WindowTarget() {
  context_.wait_idle();
  views_.clear();
  acquired_.clear();
  drawn_.clear();
  swapchain_.reset();
  if (surface_ != VK_NULL_HANDLE) {
    vkDestroySurfaceKHR(context_.instance(), surface_, nullptr);
  }
}

Status WindowTarget::create_surface() {
  LS_VK(glfwCreateWindowSurface(context_.instance(), window_, nullptr, &surface_));
  VkBool32 supported = VK_FALSE;
  LS_VK(vkGetPhysicalDeviceSurfaceSupportKHR(context_.physical(), context_.queue_family(), surface_,
                                             &supported));
  if (supported == VK_FALSE) {
    return device_error(context_.device_name() + " cannot present to this window; use --offscreen");
  }
  std::uint32_t count = 0;
  LS_VK(vkGetPhysicalDeviceSurfaceFormatsKHR(context_.physical(), surface_, &count, nullptr));
  std::vector<VkSurfaceFormatKHR> formats(count);
  LS_VK(
      vkGetPhysicalDeviceSurfaceFormatsKHR(context_.physical(), surface_, &count, formats.data()));
  // Dear ImGui's colours are sRGB-encoded already: an UNORM format shows them unchanged.
  const auto wanted = std::find_if(formats.begin(), formats.end(), [](const auto& format) {
    return format.format == VK_FORMAT_B8G8R8A8_UNORM || format.format == VK_FORMAT_R8G8B8A8_UNORM;
  });
  if (wanted == formats.end()) {
    return device_error(context_.device_name() + " offers no 8-bit surface format for this window");
  }
  format_ = *wanted;
  VkSurfaceCapabilitiesKHR capabilities{};
  LS_VK(vkGetPhysicalDeviceSurfaceCapabilitiesKHR(context_.physical(), surface_, &capabilities));
  takes_copies_ = (capabilities.supportedUsageFlags & VK_IMAGE_USAGE_TRANSFER_DST_BIT) != 0;
  return {};
}

Status WindowTarget::rebuild() {
  int width = 0;
  int height = 0;
  glfwGetFramebufferSize(window_, &width, &height);
  VkSurfaceCapabilitiesKHR capabilities{};
  LS_VK(vkGetPhysicalDeviceSurfaceCapabilitiesKHR(context_.physical(), surface_, &capabilities));
  VkExtent2D wanted = capabilities.currentExtent;
  if (wanted.width == UINT32_MAX) {
    wanted.width = std::clamp(static_cast<std::uint32_t>(width), capabilities.minImageExtent.width,
                              capabilities.maxImageExtent.width);
    wanted.height =
        std::clamp(static_cast<std::uint32_t>(height), capabilities.minImageExtent.height,
                   capabilities.maxImageExtent.height);
  }
  extent_ = wanted;
  if (width == 0 || height == 0 || wanted.width == 0 || wanted.height == 0) {
    return {};  // minimised: stays stale
  }
  context_.wait_idle();
  std::uint32_t images = std::max(3U, capabilities.minImageCount);
  if (capabilities.maxImageCount != 0) {
    images = std::min(images, capabilities.maxImageCount);
  }
  VkSwapchainCreateInfoKHR info{};
  info.sType = VK_STRUCTURE_TYPE_SWAPCHAIN_CREATE_INFO_KHR;
  info.surface = surface_;
  info.minImageCount = images;
  info.imageFormat = format_.format;
  info.imageColorSpace = format_.colorSpace;
  info.imageExtent = wanted;
  info.imageArrayLayers = 1;
  info.imageUsage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT;
  if (takes_copies_) {
    info.imageUsage |= VK_IMAGE_USAGE_TRANSFER_DST_BIT;
  }
  info.preTransform = capabilities.currentTransform;
  info.compositeAlpha =
      (capabilities.supportedCompositeAlpha & VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR) != 0
          ? VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR
          : VK_COMPOSITE_ALPHA_INHERIT_BIT_KHR;
  info.presentMode = VK_PRESENT_MODE_FIFO_KHR;  // the one that always exists: no tearing, no spin
  info.clipped = VK_TRUE;
  info.oldSwapchain = swapchain_.get();
  VkSwapchainKHR raw = VK_NULL_HANDLE;
  LS_VK(vkCreateSwapchainKHR(context_.device(), &info, nullptr, &raw));
  views_.clear();
  acquired_.clear();
  drawn_.clear();
  swapchain_ = UniqueSwapchain(context_.device(), raw);

  std::uint32_t count = 0;
  LS_VK(vkGetSwapchainImagesKHR(context_.device(), raw, &count, nullptr));
  images_.resize(count);
  LS_VK(vkGetSwapchainImagesKHR(context_.device(), raw, &count, images_.data()));
  VkSemaphoreCreateInfo semaphore_info{};
  semaphore_info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  for (VkImage image : images_) {
    VkImageViewCreateInfo view{};
    view.sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO;
    view.image = image;
    view.viewType = VK_IMAGE_VIEW_TYPE_2D;
    view.format = format_.format;
    view.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
    VkImageView raw_view = VK_NULL_HANDLE;
    LS_VK(vkCreateImageView(context_.device(), &view, nullptr, &raw_view));
    views_.emplace_back(context_.device(), raw_view);
    VkSemaphore semaphore = VK_NULL_HANDLE;
    LS_VK(vkCreateSemaphore(context_.device(), &semaphore_info, nullptr, &semaphore));
    drawn_.emplace_back(context_.device(), semaphore);
  }
  for (std::uint32_t i = 0; i < kFrameSlots; ++i) {
    VkSemaphore semaphore = VK_NULL_HANDLE;
    LS_VK(vkCreateSemaphore(context_.device(), &semaphore_info, nullptr, &semaphore));
    acquired_.emplace_back(context_.device(), semaphore);
  }
  stale_ = false;
  return {};
}

Result<TargetImage> WindowTarget::acquire(std::uint32_t slot) {
  int width = 0;
  int height = 0;
  glfwGetFramebufferSize(window_, &width, &height);
  if (stale_ || static_cast<std::uint32_t>(width) != extent_.width ||
      static_cast<std::uint32_t>(height) != extent_.height) {
    stale_ = true;
    LS_CHECK(rebuild());
    if (stale_) {
      return TargetImage{};
    }
  }
  const VkResult result =
      context_.acquire(swapchain_.get(), kAcquireWait, acquired_[slot].get(), index_);
  if (result == VK_TIMEOUT || result == VK_NOT_READY) {
    return TargetImage{};  // a hidden window gets no images; the program must go on
  }
  if (result == VK_ERROR_OUT_OF_DATE_KHR) {
    stale_ = true;
    return TargetImage{};
  }
  LS_CHECK(vk_check(result, "vkAcquireNextImageKHR"));
  stale_ = result == VK_SUBOPTIMAL_KHR;
  TargetImage target;
  target.available = true;
  target.image = images_[index_];
  target.view = views_[index_].get();
  target.extent = extent_;
  target.wait = acquired_[slot].get();
  target.done = drawn_[index_].get();
  target.final_layout = VK_IMAGE_LAYOUT_PRESENT_SRC_KHR;
  return target;
}

Status WindowTarget::present() {
  VkSemaphore wait = drawn_[index_].get();
  VkSwapchainKHR swapchain = swapchain_.get();
  VkPresentInfoKHR info{};
  info.sType = VK_STRUCTURE_TYPE_PRESENT_INFO_KHR;
  info.waitSemaphoreCount = 1;
  info.pWaitSemaphores = &wait;
  info.swapchainCount = 1;
  info.pSwapchains = &swapchain;
  info.pImageIndices = &index_;
  const VkResult result = context_.present(info);
  if (result == VK_ERROR_OUT_OF_DATE_KHR || result == VK_SUBOPTIMAL_KHR) {
    stale_ = true;
    return {};
  }
  return vk_check(result, "vkQueuePresentKHR");
}

}  // namespace layerscope::gui

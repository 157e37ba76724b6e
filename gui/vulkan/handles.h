// Unique owners of Vulkan objects. They belong to the UI thread, and the device must outlive them.
#pragma once

#include <vulkan/vulkan.h>

#include <utility>

namespace layerscope::gui {

/// Owns one device-level object and destroys it with `Destroy(device, handle, nullptr)`.
template <typename Handle, auto Destroy>
class Unique {
 public:
  Unique() = default;
  Unique(VkDevice device, Handle handle) : device_(device), handle_(handle) {}
  Unique(Unique&& other) noexcept
      : device_(other.device_), handle_(std::exchange(other.handle_, VK_NULL_HANDLE)) {}
  Unique& operator=(Unique&& other) noexcept {
    if (this != &other) {
      reset();
      device_ = other.device_;
      handle_ = std::exchange(other.handle_, VK_NULL_HANDLE);
    }
    return *this;
  }
  Unique(const Unique&) = delete;
  Unique& operator=(const Unique&) = delete;
  ~Unique() { reset(); }

  void reset() {
    if (handle_ != VK_NULL_HANDLE) {
      Destroy(device_, std::exchange(handle_, VK_NULL_HANDLE), nullptr);
    }
  }
  [[nodiscard]] Handle get() const { return handle_; }
  explicit operator bool() const { return handle_ != VK_NULL_HANDLE; }

 private:
  VkDevice device_ = VK_NULL_HANDLE;
  Handle handle_ = VK_NULL_HANDLE;
};

using UniqueBuffer = Unique<VkBuffer, vkDestroyBuffer>;
using UniqueMemory = Unique<VkDeviceMemory, vkFreeMemory>;
using UniqueImage = Unique<VkImage, vkDestroyImage>;
using UniqueImageView = Unique<VkImageView, vkDestroyImageView>;
using UniqueSampler = Unique<VkSampler, vkDestroySampler>;
using UniqueSemaphore = Unique<VkSemaphore, vkDestroySemaphore>;
using UniqueCommandPool = Unique<VkCommandPool, vkDestroyCommandPool>;
using UniqueDescriptorPool = Unique<VkDescriptorPool, vkDestroyDescriptorPool>;
using UniqueDescriptorSetLayout = Unique<VkDescriptorSetLayout, vkDestroyDescriptorSetLayout>;
using UniquePipelineLayout = Unique<VkPipelineLayout, vkDestroyPipelineLayout>;
using UniquePipeline = Unique<VkPipeline, vkDestroyPipeline>;
using UniqueShaderModule = Unique<VkShaderModule, vkDestroyShaderModule>;
using UniqueQueryPool = Unique<VkQueryPool, vkDestroyQueryPool>;
using UniqueSwapchain = Unique<VkSwapchainKHR, vkDestroySwapchainKHR>;

}  // namespace layerscope::gui

// What other programming interfaces may import: see Context::exports.
#include "gui/vulkan/check.h"
#include "gui/vulkan/context.h"

namespace layerscope::gui {

Result<ExportedBuffer> Context::make_exported_buffer(VkDeviceSize size,
                                                     VkBufferUsageFlags usage) const {
  if (!exports_) {
    return device_error(device_name_ + " cannot export memory");
  }
  VkExternalMemoryBufferCreateInfo external{};
  external.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO;
  external.handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.pNext = &external;
  info.size = size;
  info.usage = usage;
  VkBuffer raw = VK_NULL_HANDLE;
  LS_VK(vkCreateBuffer(device_, &info, nullptr, &raw));
  ExportedBuffer result;
  result.buffer.size = size;
  result.buffer.buffer = UniqueBuffer(device_, raw);

  VkMemoryRequirements needs{};
  vkGetBufferMemoryRequirements(device_, raw, &needs);
  result.memory_size = needs.size;
  VkMemoryDedicatedAllocateInfo dedicated{};
  dedicated.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO;
  dedicated.buffer = raw;
  VkExportMemoryAllocateInfo exported{};
  exported.sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO;
  exported.pNext = &dedicated;
  exported.handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.pNext = &exported;
  allocate.allocationSize = needs.size;
  LS_TRY(allocate.memoryTypeIndex,
         memory_type(needs.memoryTypeBits, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT));
  VkDeviceMemory memory = VK_NULL_HANDLE;
  LS_VK(vkAllocateMemory(device_, &allocate, nullptr, &memory));
  result.buffer.memory = UniqueMemory(device_, memory);
  LS_VK(vkBindBufferMemory(device_, raw, memory, 0));

  VkMemoryGetFdInfoKHR get{};
  get.sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR;
  get.memory = memory;
  get.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT;
  const auto get_fd =
      reinterpret_cast<PFN_vkGetMemoryFdKHR>(vkGetDeviceProcAddr(device_, "vkGetMemoryFdKHR"));
  LS_VK(get_fd(device_, &get, &result.fd));
  return result;
}

Result<ExportedSemaphore> Context::make_exported_timeline() const {
  if (!exports_) {
    return device_error(device_name_ + " cannot export semaphores");
  }
  VkExportSemaphoreCreateInfo exported{};
  exported.sType = VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO;
  exported.handleTypes = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD_BIT;
  VkSemaphoreTypeCreateInfo type{};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.pNext = &exported;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  info.pNext = &type;
  VkSemaphore raw = VK_NULL_HANDLE;
  LS_VK(vkCreateSemaphore(device_, &info, nullptr, &raw));
  ExportedSemaphore result;
  result.semaphore = UniqueSemaphore(device_, raw);

  VkSemaphoreGetFdInfoKHR get{};
  get.sType = VK_STRUCTURE_TYPE_SEMAPHORE_GET_FD_INFO_KHR;
  get.semaphore = raw;
  get.handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD_BIT;
  const auto get_fd = reinterpret_cast<PFN_vkGetSemaphoreFdKHR>(
      vkGetDeviceProcAddr(device_, "vkGetSemaphoreFdKHR"));
  LS_VK(get_fd(device_, &get, &result.fd));
  return result;
}

}  // namespace layerscope::gui

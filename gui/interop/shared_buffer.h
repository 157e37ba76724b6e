// SharedBuffer: one allocation that Vulkan and CUDA both address, without a copy between them.
//
// Vulkan allocates it (exportable, dedicated, device-local) and owns it; CUDA imports it through an
// opaque file descriptor and maps it. Created and destroyed on the UI thread while no work that
// touches it is under way on either side: stop the worker, synchronise its stream, then destroy.
// The members free CUDA's mapping before Vulkan's memory.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/base/result.h"
#include "gui/vulkan/context.h"

namespace layerscope::gui::interop {

class SharedBuffer {
 public:
  /// `size` bytes, zeroed; `usage` as of vkCreateBuffer (transfer destination is added).
  /// `cuda_device` from `find_cuda_device`. Errors (kDevice): out of memory, refused by either
  /// side.
  static Result<SharedBuffer> create(const Context& context, VkDeviceSize size,
                                     VkBufferUsageFlags usage, int cuda_device);
  SharedBuffer(SharedBuffer&&) noexcept;
  SharedBuffer& operator=(SharedBuffer&&) noexcept;
  ~SharedBuffer();

  /// The CUDA context of the import is gone (the device was reset): leaves it alone from now on.
  void forget_import();

  [[nodiscard]] VkBuffer buffer() const { return buffer_.buffer.get(); }
  /// The same bytes, for kernels on `cuda_device`.
  [[nodiscard]] void* device_pointer() const;
  [[nodiscard]] VkDeviceSize size() const { return buffer_.size; }

 private:
  struct Import;
  SharedBuffer();

  Buffer buffer_;  ///< declared first: freed after CUDA's import
  std::unique_ptr<Import> import_;
};

}  // namespace layerscope::gui::interop

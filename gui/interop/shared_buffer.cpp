#include "gui/interop/shared_buffer.h"

#include <unistd.h>

#include "gui/interop/cuda_check.h"
#include "gui/vulkan/check.h"

namespace layerscope::gui::interop {

/// CUDA's view of the memory.
struct SharedBuffer::Import {
  cudaExternalMemory_t memory = nullptr;
  void* pointer = nullptr;

  Import() = default;
  Import(const Import&) = delete;
  Import& operator=(const Import&) = delete;
  ~Import() {
    if (pointer != nullptr) {
      cudaFree(pointer);
    }
    if (memory != nullptr) {
      cudaDestroyExternalMemory(memory);
    }
  }
};

SharedBuffer::SharedBuffer() = default;
SharedBuffer::SharedBuffer(SharedBuffer&&) noexcept = default;
SharedBuffer::~SharedBuffer() = default;

SharedBuffer& SharedBuffer::operator=(SharedBuffer&& other) noexcept {
  if (this != &other) {
    import_ = std::move(other.import_);  // CUDA's import goes before Vulkan's memory
    buffer_ = std::move(other.buffer_);
  }
  return *this;
}

void SharedBuffer::forget_import() {
  if (import_ != nullptr) {
    import_->pointer = nullptr;
    import_->memory = nullptr;
  }
}

void* SharedBuffer::device_pointer() const {
  return import_ == nullptr ? nullptr : import_->pointer;
}

Result<SharedBuffer> SharedBuffer::create(const Context& context, VkDeviceSize size,
                                          VkBufferUsageFlags usage, int cuda_device) {
  SharedBuffer shared;
  LS_TRY(ExportedBuffer exported,
         context.make_exported_buffer(size, usage | VK_BUFFER_USAGE_TRANSFER_DST_BIT));
  shared.buffer_ = std::move(exported.buffer);
  shared.import_ = std::make_unique<Import>();

  int before = 0;
  LS_INTEROP_CUDA(cudaGetDevice(&before));
  LS_INTEROP_CUDA(cudaSetDevice(cuda_device));
  cudaExternalMemoryHandleDesc handle{};
  handle.type = cudaExternalMemoryHandleTypeOpaqueFd;
  handle.handle.fd = exported.fd;
  handle.size = exported.memory_size;
  handle.flags = cudaExternalMemoryDedicated;
  if (const Status status = cuda_check(cudaImportExternalMemory(&shared.import_->memory, &handle),
                                       "cudaImportExternalMemory");
      !status.ok()) {
    ::close(exported.fd);  // CUDA takes it over only when it succeeds
    return status.error();
  }
  cudaExternalMemoryBufferDesc range{};
  range.size = size;
  LS_INTEROP_CUDA(
      cudaExternalMemoryGetMappedBuffer(&shared.import_->pointer, shared.import_->memory, &range));
  LS_INTEROP_CUDA(cudaMemset(shared.import_->pointer, 0, size));
  LS_INTEROP_CUDA(cudaSetDevice(before));
  return shared;
}

}  // namespace layerscope::gui::interop

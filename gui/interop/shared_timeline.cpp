#include "gui/interop/shared_timeline.h"

#include <unistd.h>

#include "gui/interop/cuda_check.h"
#include "gui/vulkan/check.h"

namespace layerscope::gui::interop {

/// CUDA's view of the semaphore.
struct SharedTimeline::Import {
  cudaExternalSemaphore_t semaphore = nullptr;

  Import() = default;
  Import(const Import&) = delete;
  Import& operator=(const Import&) = delete;
  ~Import() {
    if (semaphore != nullptr) {
      cudaDestroyExternalSemaphore(semaphore);
    }
  }
};

SharedTimeline::SharedTimeline() = default;
SharedTimeline::SharedTimeline(SharedTimeline&&) noexcept = default;
SharedTimeline::~SharedTimeline() = default;

SharedTimeline& SharedTimeline::operator=(SharedTimeline&& other) noexcept {
  if (this != &other) {
    import_ = std::move(other.import_);  // CUDA's import goes before Vulkan's semaphore
    semaphore_ = std::move(other.semaphore_);
    device_ = other.device_;
  }
  return *this;
}

Result<SharedTimeline> SharedTimeline::create(const Context& context, int cuda_device) {
  SharedTimeline shared;
  shared.device_ = context.device();
  LS_TRY(ExportedSemaphore exported, context.make_exported_timeline());
  shared.semaphore_ = std::move(exported.semaphore);
  shared.import_ = std::make_unique<Import>();

  int before = 0;
  LS_INTEROP_CUDA(cudaGetDevice(&before));
  LS_INTEROP_CUDA(cudaSetDevice(cuda_device));
  cudaExternalSemaphoreHandleDesc handle{};
  handle.type = cudaExternalSemaphoreHandleTypeTimelineSemaphoreFd;
  handle.handle.fd = exported.fd;
  if (const Status status =
          cuda_check(cudaImportExternalSemaphore(&shared.import_->semaphore, &handle),
                     "cudaImportExternalSemaphore");
      !status.ok()) {
    ::close(exported.fd);  // CUDA takes it over only when it succeeds
    return status.error();
  }
  LS_INTEROP_CUDA(cudaSetDevice(before));
  return shared;
}

void SharedTimeline::forget_import() {
  if (import_ != nullptr) {
    import_->semaphore = nullptr;
  }
}

Result<std::uint64_t> SharedTimeline::value() const {
  std::uint64_t value = 0;
  LS_VK(vkGetSemaphoreCounterValue(device_, semaphore_.get(), &value));
  return value;
}

Status SharedTimeline::signal(void* stream, std::uint64_t value) const {
  cudaExternalSemaphoreSignalParams parameters{};
  parameters.params.fence.value = value;
  return cuda_check(cudaSignalExternalSemaphoresAsync(&import_->semaphore, &parameters, 1,
                                                      static_cast<cudaStream_t>(stream)),
                    "cudaSignalExternalSemaphoresAsync");
}

Status SharedTimeline::wait(void* stream, std::uint64_t value) const {
  cudaExternalSemaphoreWaitParams parameters{};
  parameters.params.fence.value = value;
  return cuda_check(cudaWaitExternalSemaphoresAsync(&import_->semaphore, &parameters, 1,
                                                    static_cast<cudaStream_t>(stream)),
                    "cudaWaitExternalSemaphoresAsync");
}

}  // namespace layerscope::gui::interop

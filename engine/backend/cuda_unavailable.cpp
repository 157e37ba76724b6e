// Stands for the CUDA backend in builds without it.
#include "engine/backend/cuda.h"
#include "engine/backend/gpu_memory.h"

namespace layerscope::backend {
namespace {
#ifdef LS_CUDA_SWITCHED_OFF
constexpr const char* kReason =
    "this build has no CUDA backend (it was switched off when the build was configured)";
#else
constexpr const char* kReason =
    "this build has no CUDA backend (no CUDA toolkit was found when it was configured)";
#endif
}  // namespace

std::vector<DeviceInfo> list_cuda_devices() { return {{"cuda", "", false, kReason}}; }

// NOLINTNEXTLINE(performance-unnecessary-value-param): cuda_backend.cpp keeps it.
Result<std::unique_ptr<Backend>> create_cuda_backend(std::shared_ptr<const model::Model> /*model*/,
                                                     const BackendOptions& /*options*/,
                                                     int /*context*/) {
  return device_error(std::string("the CUDA backend is not available: ") + kReason);
}

Status recover_cuda_device(int /*gpu*/) { return {}; }

std::uint64_t default_gpu_memory() { return 0; }

void warm_up_cuda(int /*gpu*/) {}

}  // namespace layerscope::backend

// Which GPUs there are, and why one cannot be used.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "engine/backend/cuda.h"
#include "kernels/cuda/check.h"

namespace layerscope::backend {
namespace {

constexpr int kOldestMajor = 8;  ///< Compute capability 8.0 (Ampere): the oldest that is built for.

std::string no_device_reason(cudaError_t code) {
  int driver = 0;
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return "no NVIDIA driver is installed";
  }
  if (code == cudaErrorInsufficientDriver) {
    return fmt::format("the NVIDIA driver supports CUDA {}.{}, this build needs {}.{}: update it",
                       driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  }
  if (code == cudaSuccess || code == cudaErrorNoDevice) {
    return "the driver finds no NVIDIA GPU";
  }
  return cudaGetErrorString(code);
}

}  // namespace

std::vector<DeviceInfo> list_cuda_devices() {
  int n = 0;
  const cudaError_t code = cudaGetDeviceCount(&n);
  if (code != cudaSuccess || n == 0) {
    static_cast<void>(cudaGetLastError());
    return {{"cuda", "", false, no_device_reason(code)}};
  }
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp properties{};
    if (const cudaError_t failed = cudaGetDeviceProperties(&properties, i); failed != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      devices.push_back({"cuda", fmt::format("GPU {}", i), false, cudaGetErrorString(failed)});
      continue;
    }
    DeviceInfo info{"cuda",
                    fmt::format("{} ({:.0f} GiB, compute capability {}.{})", properties.name,
                                static_cast<double>(properties.totalGlobalMem) / (1U << 30U),
                                properties.major, properties.minor),
                    properties.major >= kOldestMajor, ""};
    info.reason =
        info.usable
            ? (i == 0 ? "chosen by default" : fmt::format("choose with --gpu {}", i))
            : fmt::format("too old: compute capability {}.0 or newer is needed", kOldestMajor);
    devices.push_back(std::move(info));
  }
  return devices;
}

// After a failed kernel the context answers every call with the same error, until it is thrown
// away.
Status recover_cuda_device(int gpu) {
  if (cudaSetDevice(gpu) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess) {
    return {};
  }
  static_cast<void>(cudaGetLastError());
  LS_CUDA(cudaDeviceReset());
  static_cast<void>(cudaGetLastError());
  LS_CUDA(cudaSetDevice(gpu));
  return {};
}

void warm_up_cuda(int gpu) {
  static_cast<void>(cudaSetDevice(gpu));
  static_cast<void>(cudaFree(nullptr));
  static_cast<void>(cudaGetLastError());
}

}  // namespace layerscope::backend

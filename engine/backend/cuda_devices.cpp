// Which GPUs there are, and why one cannot be used.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "engine/backend/cuda.h"
#include "engine/backend/gpu_memory.h"
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

std::uint64_t default_gpu_memory() {
  cudaDeviceProp properties{};
  const bool there = cudaGetDeviceProperties(&properties, 0) == cudaSuccess;
  static_cast<void>(cudaGetLastError());
  return there && properties.major >= kOldestMajor ? properties.totalGlobalMem : 0;
}

// After a failed kernel the context answers every call with the same error, until it is thrown
// away. The driver may take a while to give the device back.
Status recover_cuda_device(int gpu) {
  constexpr int kTries = 30;
  constexpr auto kPause = std::chrono::milliseconds(100);
  if (cudaSetDevice(gpu) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess) {
    return {};
  }
  cudaError_t code = cudaSuccess;
  for (int i = 0; i < kTries; ++i) {
    static_cast<void>(cudaGetLastError());
    static_cast<void>(cudaDeviceReset());
    static_cast<void>(cudaGetLastError());
    code = cudaSetDevice(gpu);
    code = code == cudaSuccess ? cudaFree(nullptr) : code;
    if (code == cudaSuccess) {
      return {};
    }
    std::this_thread::sleep_for(kPause);
  }
  return device_error(
      fmt::format("the driver does not give GPU {} back to this process ({}); start Layerscope "
                  "again, or use --backend cpu",
                  gpu, cudaGetErrorString(code)));
}

void warm_up_cuda(int gpu) {
  static_cast<void>(cudaSetDevice(gpu));
  static_cast<void>(cudaFree(nullptr));
  static_cast<void>(cudaGetLastError());
}

}  // namespace layerscope::backend

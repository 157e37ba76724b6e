#include "gui/interop/cuda_device.h"

#include <fmt/format.h>

#include <cstring>
#include <string>

#include "gui/interop/cuda_check.h"

namespace layerscope::gui::interop {

Status cuda_check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) {
    return {};
  }
  return device_error(
      fmt::format("CUDA: {}: {} ({})", what, cudaGetErrorString(code), cudaGetErrorName(code)));
}

Result<int> find_cuda_device(const Context& context) {
  if (!context.exports()) {
    return device_error(
        fmt::format("{} cannot export memory and timeline semaphores", context.device_name()));
  }
  int count = 0;
  if (const cudaError_t code = cudaGetDeviceCount(&count); code != cudaSuccess || count == 0) {
    return device_error(fmt::format("no usable CUDA device ({})", cudaGetErrorString(code)));
  }
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties{};
    LS_INTEROP_CUDA(cudaGetDeviceProperties(&properties, device));
    if (std::memcmp(properties.uuid.bytes, context.device_uuid().data(),
                    context.device_uuid().size()) == 0) {
      return device;
    }
  }
  return device_error(
      fmt::format("Vulkan draws with {}, which is none of the {} CUDA device(s) here",
                  context.device_name(), count));
}

}  // namespace layerscope::gui::interop

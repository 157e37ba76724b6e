// What a window may say about GPUs before a model is loaded. Only asks the driver: makes no context
// and touches no device. Any thread.
#pragma once

#include <cstdint>

namespace layerscope::backend {

/// Memory of the GPU that `auto` takes, free or not, in bytes; 0 when there is no usable one.
std::uint64_t default_gpu_memory();

}  // namespace layerscope::backend

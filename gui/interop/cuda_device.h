// Which CUDA device is the GPU that Vulkan draws with. Any thread.
#pragma once

#include "engine/base/result.h"
#include "gui/vulkan/context.h"

namespace layerscope::gui::interop {

/// Index of the CUDA device with the UUID of the Vulkan device. Errors (kDevice), one sentence
/// that the window shows: Vulkan cannot export memory or timeline semaphores here, CUDA is not
/// usable, or no CUDA device is the one that draws.
Result<int> find_cuda_device(const Context& context);

}  // namespace layerscope::gui::interop

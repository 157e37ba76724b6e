// The CUDA backend as the rest of the engine sees it: no CUDA header is needed to include this.
//
// A build without the CUDA toolkit links cuda_unavailable.cpp, which only says why.
#pragma once

#include <memory>
#include <vector>

#include "engine/backend/backend.h"

namespace layerscope::backend {

/// One entry per GPU, or a single unusable one that says why there is none.
std::vector<DeviceInfo> list_cuda_devices();

/// Plans the memory, uploads the weights, makes the caches. `context` > 0. Errors: kDevice (no
/// usable GPU, too little memory: the sentence has the numbers), kCancelled.
Result<std::unique_ptr<Backend>> create_cuda_backend(std::shared_ptr<const model::Model> model,
                                                     const BackendOptions& options, int context);

/// As recover_device.
Status recover_cuda_device(int gpu);

/// Creates the driver's context of a GPU; errors are left to create_cuda_backend.
void warm_up_cuda(int gpu);

}  // namespace layerscope::backend

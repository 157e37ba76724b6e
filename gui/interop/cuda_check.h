// The one helper that turns a CUDA error of the sharing code into a Status.
#pragma once

#include <cuda_runtime_api.h>

#include "engine/base/result.h"

namespace layerscope::gui::interop {

/// kDevice with the runtime's own sentence; `what` names the call.
Status cuda_check(cudaError_t code, const char* what);

}  // namespace layerscope::gui::interop

/// Returns the error of a CUDA call from the enclosing function.
#define LS_INTEROP_CUDA(call) LS_CHECK(::layerscope::gui::interop::cuda_check((call), #call))

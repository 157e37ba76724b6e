// The one helper that turns a CUDA error into a Status, and the one for cuBLAS.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include <string>

#include "engine/base/result.h"

namespace layerscope::kernels::cuda {

/// kDevice with the runtime's own sentence; memory errors say so. `what` names the call.
inline Status cuda_status(cudaError_t code, const char* what) {
  if (code == cudaSuccess) {
    return {};
  }
  return device_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(code) + " (" +
                      cudaGetErrorName(code) + ")");
}

inline Status cublas_status(cublasStatus_t code, const char* what) {
  if (code == CUBLAS_STATUS_SUCCESS) {
    return {};
  }
  return device_error(std::string("cuBLAS: ") + what + ": " + cublasGetStatusString(code));
}

}  // namespace layerscope::kernels::cuda

/// Evaluates a CUDA (cuBLAS) call; returns a kDevice error that names it from the enclosing
/// function.
#define LS_CUDA(call) LS_CHECK(::layerscope::kernels::cuda::cuda_status((call), #call))
#define LS_CUBLAS(call) LS_CHECK(::layerscope::kernels::cuda::cublas_status((call), #call))

// The model's weights in device memory, in their file type where the kernels read it, else decoded
// to float32 (kernels/cuda/dequant_blocks.h).
//
// Block types are repacked into planes (kernels/cuda/block_planes.h; a bijection: the file's blocks
// can be had back); rows of other types are padded to 16 bytes where their length asks for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <vector>

#include "engine/backend/cuda_memory.h"
#include "engine/model/model.h"
#include "kernels/cuda/ops.h"

namespace layerscope::backend::cuda {

using kernels::cuda::DeviceMatrix;

struct DeviceLayer {
  DeviceMatrix qkv[3];
  const float* qkv_bias[3] = {nullptr, nullptr, nullptr};
  DeviceMatrix out, gate, up, down;
  const float* out_bias = nullptr;
  const float* attn_norm = nullptr;
  const float* ffn_norm = nullptr;
};

/// Views into one allocation. Copies share it, so that a second backend takes no second one.
struct DeviceWeights {
  std::shared_ptr<const DeviceBuffer> memory;
  DeviceMatrix embedding, head;
  const float* output_norm = nullptr;
  const double* inv_freq = nullptr;
  std::vector<DeviceLayer> layers;
};

/// Bytes that `upload_weights` will allocate.
std::size_t weight_bytes(const model::Model& model);

/// Copies everything through a ring of page-locked buffers that several threads fill. `progress`
/// gets 0…1; `stop` is polled for every buffer (kCancelled).
Result<DeviceWeights> upload_weights(const model::Model& model, cudaStream_t stream, int sm_count,
                                     const std::stop_token& stop,
                                     const std::function<void(double)>& progress);

}  // namespace layerscope::backend::cuda

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

/// As model::LayerWeights; null, and matrices without data: the architecture has none.
struct DeviceLayer {
  DeviceMatrix qkv[3];
  const float* qkv_bias[3] = {nullptr, nullptr, nullptr};
  DeviceMatrix out, gate, up, down;
  const float *out_bias = nullptr, *gate_bias = nullptr, *up_bias = nullptr, *down_bias = nullptr;
  const float *attn_norm = nullptr, *attn_norm_bias = nullptr;
  const float *attn_norm_2 = nullptr, *attn_norm_2_bias = nullptr;
  const float *q_norm = nullptr, *k_norm = nullptr;
  const float *ffn_norm = nullptr, *ffn_norm_bias = nullptr;
  const float *post_attn_norm = nullptr, *post_ffn_norm = nullptr;
  DeviceMatrix router;                  ///< [experts, hidden]
  DeviceMatrix expert_gate, expert_up;  ///< [experts · ffn, hidden], expert by expert
  DeviceMatrix expert_down;             ///< [experts · hidden, ffn]
};

/// Views into one allocation. Copies share it, so that a second backend takes no second one.
struct DeviceWeights {
  std::shared_ptr<const DeviceBuffer> memory;
  DeviceMatrix embedding, positions, head;
  const float *output_norm = nullptr, *output_norm_bias = nullptr;
  const float* head_bias = nullptr;
  const double* inv_freq_windowed = nullptr;
  std::vector<DeviceLayer> layers;
};

/// Calls f(matrix) for every matrix of a layer that is there, experts' included.
template <class F>
void each_matrix(const model::LayerWeights& w, F&& f) {
  for (const kernels::Matrix* m : {&w.q, &w.k, &w.v, &w.out, &w.gate, &w.up, &w.down, &w.router}) {
    if (m->data != nullptr) {
      f(*m);
    }
  }
  for (const model::ExpertWeights& expert : w.experts) {
    f(expert.gate);
    f(expert.up);
    f(expert.down);
  }
}

/// Bytes that `upload_weights` will allocate.
std::size_t weight_bytes(const model::Model& model);

/// Copies everything through a ring of page-locked buffers that several threads fill. `progress`
/// gets 0…1; `stop` is polled for every buffer (kCancelled).
Result<DeviceWeights> upload_weights(const model::Model& model, cudaStream_t stream, int sm_count,
                                     const std::stop_token& stop,
                                     const std::function<void(double)>& progress);

}  // namespace layerscope::backend::cuda

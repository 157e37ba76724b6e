// CudaBackend::FaultPass: a forward pass that does something wrong on purpose, on the GPU.
//
// It runs only while interventions are set: every stage on its own, each product with the kernel of
// a decode step, token by token, so that weights of any type are read as they are. What a fault
// means stands in fault_plan.h; here it is done. Read to understand a bug, not timed.
#pragma once

#include "engine/backend/cuda_stages.h"
#include "engine/backend/fault_plan.h"
#include "kernels/cuda/fault_ops.h"

namespace layerscope::backend::cuda {

/// What a backend keeps while faults are in force.
struct CudaBackend::FaultState {
  model::Interventions list;                     ///< what the forward pass does wrong
  std::shared_ptr<const model::Model> computed;  ///< the model, or its edited copy
  DeviceWeights weights;                         ///< the backend's own but for `replaced`
  std::vector<DeviceBuffer> replaced;            ///< edited tensors, float32
  DeviceBuffer memory;                           ///< of what follows
  float* other_angles = nullptr;                 ///< [batch, rope_dim]
  float* scores = nullptr;                       ///< [heads, keys] of one token
  float* attention = nullptr;                    ///< [heads, keys] of one token
  std::uint8_t* modes = nullptr;                 ///< [heads]
  kernels::cuda::FaultHead* per_head = nullptr;  ///< [heads]
  int stuck_slot = -1;                           ///< of kKvStuck; −1: not decoding yet
};

class CudaBackend::FaultPass {
 public:
  FaultPass(CudaBackend& backend, const ForwardRequest& request, capture::PassCapture& captured);

  Status run(std::vector<float>& logits);

 private:
  Status embed();
  Status attention_block(int layer);
  Status rotate(int layer, const float* in, int n_heads, bool is_query, float* out);
  Status store(int layer);
  Status write_slot(int layer, std::size_t token, int slot);
  Status attend(int layer);
  Status keep_rows(int layer, std::size_t token, float* scores, float* weights);
  Status ffn_block(int layer);
  Status output(std::vector<float>& logits);

  Status edit(capture::Tap which, int layer, float* values, int width);
  Status add(capture::Tap block, int layer, const float* residual, float* out);

  CudaBackend& self_;
  FaultState& state_;
  const model::DecoderSpec& spec_;
  const ForwardRequest& request_;
  capture::PassCapture& captured_;
  kernels::cuda::Launch on_;
  const LayerTaps& taps_;
  int n_;
  Stages stages_;
  int keys_;                   ///< of the whole pass
  bool written_late_ = false;  ///< the pass's token is stored after it has attended
  std::vector<float> host_;
};

}  // namespace layerscope::backend::cuda

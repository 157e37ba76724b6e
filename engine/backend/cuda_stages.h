// CudaBackend::Stages: the stages of a layer for any DecoderSpec, one operation each, for one token
// or many. Decode uses them where a fused stage does not cover the architecture, prefill likewise,
// and the fault pass throughout. What a stage does follows from the spec alone, as in the CPU's
// pass, which is the definition.
//
// A view: lives as long as a call. Every method only enqueues on the stream of `on`.
#pragma once

#include "engine/backend/cuda_backend.h"
#include "kernels/cuda/plain_ops.h"

namespace layerscope::backend::cuda {

class CudaBackend::Stages {
 public:
  /// How matrices are multiplied.
  enum class Products : std::uint8_t {
    kTokens,  ///< with the kernels of a decode step, token by token
    kBatch,   ///< on cuBLAS, which rounds as Gemm::create says
  };
  /// What is done wrong with the routing.
  struct Routing {
    bool shifted = false, unnormalised = false;
  };

  Stages(const CudaBackend& backend, const DeviceWeights& weights, const model::DecoderSpec& spec,
         const LayerTaps& taps, int n, Products products, const kernels::cuda::Launch& on)
      : self_(backend),
        weights_(weights),
        spec_(spec),
        taps_(taps),
        n_(n),
        batch_(products == Products::kBatch),
        on_(on) {}

  /// What follows launch_embed: scale and learned positions of x [n, hidden], and the angles where
  /// they have a factor or layers have their own. `bare` leaves scale and positions out.
  Status finish_embedding(float* x, const std::int32_t* position, bool bare = false);
  /// attn_norm, q, k, v of the stream x that enters the layer, without QK-norm.
  Status project(int layer, const float* x);
  /// QK-norm, all of it, or only what `append` cannot do: all heads as one row.
  Status norm_queries_and_keys(int layer, bool whole_rows_only);
  /// Normalises single heads, rotates, appends to the caches; `state` of a decode step, or null and
  /// `position`.
  Status append(int layer, const kernels::cuda::StepState* state, int position);
  /// attn_out.
  Status project_out(int layer);
  /// Norm of what a block gave, where the spec has one.
  Status post_norm(capture::Tap block, int layer);
  /// out = residual + what a block gave.
  Status add(capture::Tap block, const float* residual, float* out);
  /// ffn_out from ffn_act, without experts.
  Status project_down(int layer);
  /// ffn_norm … ffn_out; x enters the layer, resid_mid stands in the taps.
  Status feed_forward(int layer, const float* x, const Routing& routing);
  /// Final norm of x [rows, hidden].
  Status final_norm(const float* x, int rows, float* out);
  /// Head, bias, scale and cap of normed rows.
  Status logits(const float* normed, int rows, float* out, bool cap = true);
  /// Scale and cap alone.
  Status finish_logits(float* values, int rows, bool cap = true);

 private:
  struct Part {
    const DeviceMatrix& w;
    const float* bias;
    float* out;
  };
  Status products(std::initializer_list<Part> parts, const float* x, int rows);
  Status norm(const float* x, const float* weight, const float* bias, int rows, float* out);
  Status norm_heads(float* x, const float* weight, int heads);
  Status dense(int layer, const float* in);
  // cuda_experts.cpp
  Status experts(int layer, const float* in, const Routing& routing);
  Status activate_experts();
  Status chosen_experts(const DeviceLayer& w, const float* in);
  Status grouped_experts(const DeviceLayer& w, const float* in);

  const CudaBackend& self_;
  const DeviceWeights& weights_;
  const model::DecoderSpec& spec_;
  const LayerTaps& taps_;
  int n_;
  bool batch_;
  kernels::cuda::Launch on_;
};

}  // namespace layerscope::backend::cuda

// CpuBackend::Pass: one forward pass, the stages in order, each offered to the capture. Private to
// the CPU backend; lives on the stack of `forward`.
//
// The virtual members are the points where FaultPass does something wrong on purpose. Without
// faults this class runs as it stands. What a stage does follows from the spec alone.
#pragma once

#include <initializer_list>

#include "engine/backend/cpu_backend.h"
#include "kernels/ops.h"

namespace layerscope::backend {

class CpuBackend::Pass {
 public:
  Pass(CpuBackend& backend, const ForwardRequest& request, capture::PassCapture& captured);
  virtual ~Pass() = default;
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  Status run(std::vector<float>& logits);

  /// Final norm and head of any residual rows [n, hidden], with n the request's number of ids and
  /// all_logits set.
  void head(std::span<const float> residual, std::vector<float>& logits) {
    buf_.residual.assign(residual.begin(), residual.end());
    captured_.reset(request_.capture, 0, static_cast<int>(n_), spec_.n_layers, spec_.n_heads);
    output(logits);
  }

 protected:
  void prepare();
  /// Another run's residual stream in the place of this one's.
  void splice(int layer);
  void attention_block(int layer);
  /// Q, K, V of every token, with biases and QK-norm.
  void project(int layer);
  void ffn_block(int layer);
  void dense_ffn(int layer, const float* in);
  void expert_ffn(int layer, const float* in);
  /// Every chosen expert of token t, weighed and added up into `block`.
  void run_experts(int layer, std::size_t token, const float* in);
  /// Final norm and head, for the last token or for all of them.
  void output(std::vector<float>& logits);

  /// The embedding row of token `id` at `position` into out[hidden], scaled, positions added.
  virtual void embed(std::int32_t id, int position, float* out);
  /// QK-norm of one layer's Q and K, in place.
  virtual void normalise_heads(int layer);
  /// Rotates Q and K in place and appends Q, K, V to the caches.
  virtual void rotate_and_store(int layer);
  /// Causal attention of every head and token; the rows go into the capture where it wants them.
  virtual void attend(int layer);
  /// The experts of one token from its router logits: buf_.chosen and buf_.shares.
  virtual void route(int layer, std::size_t token);
  /// Adds what a block gave to the residual stream.
  virtual void add_block(capture::Tap block, int layer);
  /// A stage's output before it is captured and used.
  virtual void alter(capture::Tap /*which*/, int /*layer*/, std::vector<float>& /*values*/) {}
  /// Scale and soft-cap of the logits, in place.
  virtual void finish_logits(std::vector<float>& logits);

  /// Normalises n rows of `hidden` values; `bias` may be empty.
  void norm(const float* x, const std::vector<float>& weight, const std::vector<float>& bias,
            std::size_t rows, float* out) const;
  /// One head, or all heads as one row, of Q or K.
  void norm_row(float* x, const float* weight, std::size_t n) const;
  /// The norm after a block, in place, where the spec has one.
  void post_norm(capture::Tap which, int layer, const std::vector<float>& weight);
  [[nodiscard]] const float* cos_sin(int layer, std::size_t token) const;

  /// Space for a whole [heads, tokens, keys] tensor, or null when it is not wanted. The pointer
  /// stays valid when further tensors are added: a moved vector keeps its elements where they are.
  float* full_attention(capture::Tap which, int layer, std::size_t keys, float fill);
  /// Offers rows [first, …) of a stage: statistics per token, and the whole tensor where wanted.
  void tap(capture::Tap which, int layer, const std::vector<float>& values,
           std::initializer_list<std::int64_t> row_shape, std::size_t first = 0);

  CpuBackend& self_;
  const model::DecoderSpec& spec_;
  const model::Weights& weights_;
  const ForwardRequest& request_;
  capture::PassCapture& captured_;
  Buffers& buf_;
  std::size_t n_, hidden_, q_width_, kv_width_, head_dim_, ffn_;  ///< ffn_: of all used experts
};

}  // namespace layerscope::backend

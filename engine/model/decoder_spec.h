// DecoderSpec: what a decoder is made of, as data. Both backends run any spec.
//
// An architecture (engine/arch) fills it from a file's metadata. Immutable once read.
#pragma once

#include <string>

#include "kernels/ops.h"

namespace layerscope::model {

struct DecoderSpec {
  std::string architecture;  ///< general.architecture
  int n_layers = 0;
  int hidden = 0;      ///< width of the residual stream
  int n_heads = 0;     ///< query heads
  int n_kv_heads = 0;  ///< key/value heads; divides n_heads (GQA, Ainslie et al. 2023)
  int head_dim = 0;
  int ffn = 0;         ///< width of the gated feed-forward
  int vocab_rows = 0;  ///< rows of the embedding and of the head, padding included
  int train_context = 0;

  float norm_eps = 0.0F;  ///< of RMS norm
  kernels::RopePairing rope_pairing = kernels::RopePairing::kHalf;
  int rope_dim = 0;  ///< rotated dimensions per head, even, ≤ head_dim
  double rope_base = 10000.0;
  double rope_divisor = 1.0;  ///< linear scaling: positions are divided by it

  bool needs_qkv_bias = false;  ///< The architecture has Q, K, V biases: their absence is an error.
  float attention_scale = 0.0F;  ///< multiplies q · k

  [[nodiscard]] int q_width() const { return n_heads * head_dim; }
  [[nodiscard]] int kv_width() const { return n_kv_heads * head_dim; }
  [[nodiscard]] int heads_per_kv() const { return n_heads / n_kv_heads; }
};

}  // namespace layerscope::model

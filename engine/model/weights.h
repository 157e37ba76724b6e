// Weights: views into the model file by role, checked against the spec.
//
// Matrices stay in their file type and point into the mapping; vectors (norms, biases) are small
// and are decoded to float32. Valid as long as the ModelFile lives. Which tensor gives what stands
// in tensor_map.h.
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/model/decoder_spec.h"
#include "kernels/ops.h"

namespace layerscope::model {

struct ExpertWeights {
  kernels::Matrix gate, up;  ///< [ffn, hidden]
  kernels::Matrix down;      ///< [hidden, ffn]
};

/// Matrices without data and empty vectors: the architecture has none.
struct LayerWeights {
  std::vector<float> attn_norm, attn_norm_bias;      ///< [hidden]
  std::vector<float> attn_norm_2, attn_norm_2_bias;  ///< [hidden]; then Q, K, V read this one
  kernels::Matrix q, k, v;  ///< [heads · head_dim or kv_heads · head_dim, hidden]
  std::vector<float> q_bias, k_bias, v_bias;  ///< empty: none
  std::vector<float> q_norm, k_norm;          ///< [head_dim] or [heads · head_dim]
  kernels::Matrix out;                        ///< [hidden, heads · head_dim]
  std::vector<float> out_bias;
  std::vector<float> post_attn_norm;           ///< [hidden]
  std::vector<float> ffn_norm, ffn_norm_bias;  ///< [hidden]
  kernels::Matrix gate, up;                    ///< [ffn, hidden]
  std::vector<float> gate_bias, up_bias;
  kernels::Matrix down;  ///< [hidden, ffn]
  std::vector<float> down_bias;
  std::vector<float> post_ffn_norm;    ///< [hidden]
  kernels::Matrix router;              ///< [experts, hidden]
  std::vector<ExpertWeights> experts;  ///< [experts]
};

struct Weights {
  kernels::Matrix embedding;  ///< [vocab_rows, hidden]
  kernels::Matrix positions;  ///< [context, hidden], where positions are learned
  kernels::Matrix head;       ///< [vocab_rows, hidden]; the embedding itself when tied
  std::vector<float> head_bias;
  bool tied_head = false;
  std::vector<float> output_norm, output_norm_bias;  ///< [hidden]
  std::vector<double> inv_freq;       ///< [rope_dim / 2] angle per position of each dimension pair
  std::vector<double> inv_freq_long;  ///< LongRoPE: beyond the context of pre-training
  std::vector<double> inv_freq_windowed;  ///< of windowed layers with a base of their own
  std::vector<LayerWeights> layers;
  std::vector<std::string> unread;  ///< Tensors of the file that this spec does not use.

  /// The frequencies of a layer in a run with so many slots.
  [[nodiscard]] std::vector<double> frequencies(const DecoderSpec& spec, int layer,
                                                int context) const {
    const bool own = !inv_freq_windowed.empty() && spec.layer_windowed(layer);
    return own ? inv_freq_windowed : frequencies(spec, context);
  }
  /// Those of layers that have no base of their own.
  [[nodiscard]] std::vector<double> frequencies(const DecoderSpec& spec, int context) const;
};

/// Finds every tensor of `spec` in `file` and checks shape and type. Errors (kInvalidInput) name
/// the tensor: missing, wrong shape (both are given), or a type that cannot be computed with yet.
Result<Weights> bind_weights(const format::ModelFile& file, const DecoderSpec& spec);

/// θ_i = base^(−2i/rope_dim) (Su et al. 2021), changed as the spec's scaling says; LongRoPE's and
/// tensor divisors are not applied.
std::vector<double> rope_frequencies(const DecoderSpec& spec, double base);

}  // namespace layerscope::model

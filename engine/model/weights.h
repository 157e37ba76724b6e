// Weights: views into the model file by role, checked against the spec.
//
// Matrices stay in their file type and point into the mapping; vectors (norms, biases) are small
// and are decoded to float32. Valid as long as the ModelFile lives.
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/model/decoder_spec.h"
#include "kernels/ops.h"

namespace layerscope::model {

struct LayerWeights {
  std::vector<float> attn_norm;  ///< [hidden]
  kernels::Matrix q, k, v;       ///< [heads · head_dim or kv_heads · head_dim, hidden]
  std::vector<float> q_bias, k_bias, v_bias;  ///< empty: none
  kernels::Matrix out;                        ///< [hidden, heads · head_dim]
  std::vector<float> out_bias;
  std::vector<float> ffn_norm;  ///< [hidden]
  kernels::Matrix gate, up;     ///< [ffn, hidden]
  kernels::Matrix down;         ///< [hidden, ffn]
};

struct Weights {
  kernels::Matrix embedding;  ///< [vocab_rows, hidden]
  kernels::Matrix head;       ///< [vocab_rows, hidden]; the embedding itself when tied
  bool tied_head = false;
  std::vector<float> output_norm;  ///< [hidden]
  std::vector<double> inv_freq;    ///< [rope_dim / 2] angle per position of each dimension pair
  std::vector<LayerWeights> layers;
  std::vector<std::string> unread;  ///< Tensors of the file that this spec does not use.
};

/// Finds every tensor of `spec` in `file` and checks shape and type. Errors (kInvalidInput) name
/// the tensor: missing, wrong shape (both are given), or a type that cannot be computed with yet.
Result<Weights> bind_weights(const format::ModelFile& file, const DecoderSpec& spec);

}  // namespace layerscope::model

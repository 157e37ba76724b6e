// The tensor map: which tensor of a file holds what of a decoder, as data derived from its spec.
//
// One place for names, shapes and fused tensors: binding, faults and checks all read it.
#pragma once

#include <string>
#include <vector>

#include "engine/model/decoder_spec.h"
#include "engine/model/weights.h"

namespace layerscope::model {

/// A matrix of a layer: `rows` rows of the tensor from `first_row` on, each `cols` wide. A tensor
/// that holds one matrix per expert counts their rows through.
struct MatrixSource {
  std::string tensor;
  int first_row = 0, rows = 0, cols = 0;
  int tensor_rows = 0;                              ///< of the whole tensor (of one expert)
  int tensor_experts = 0;                           ///< > 0: the tensor is [experts, rows, cols]
  kernels::Matrix LayerWeights::*matrix = nullptr;  ///< where it goes; null: an expert's
  kernels::Matrix ExpertWeights::*expert_matrix = nullptr;
  int expert = -1;
  std::string bias_tensor;  ///< empty: the architecture has none; elements from `first_row` on
  std::vector<float> LayerWeights::*bias = nullptr;
  bool bias_required = false;
};
std::vector<MatrixSource> layer_matrices(const DecoderSpec& spec, int layer,
                                         bool split_experts = false);

/// A norm's vectors.
struct NormSource {
  std::string tensor;
  int width = 0;      ///< values of the weight
  int own_heads = 0;  ///< > 0: stored as [heads, head_dim]
  std::vector<float> LayerWeights::*weight = nullptr;
  std::string bias_tensor;  ///< empty: none
  std::vector<float> LayerWeights::*bias = nullptr;
};
std::vector<NormSource> layer_norms(const DecoderSpec& spec, int layer);

/// "blk.3.attn_q.weight"
std::string layer_tensor(int layer, const char* role);

}  // namespace layerscope::model

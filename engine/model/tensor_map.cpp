#include "engine/model/tensor_map.h"

#include <fmt/format.h>

namespace layerscope::model {
namespace {

using W = LayerWeights;

void add_qkv(const DecoderSpec& spec, int layer, std::vector<MatrixSource>& list) {
  struct Part {
    const char *weight, *bias;
    int rows;
    kernels::Matrix W::*matrix;
    std::vector<float> W::*vector;
  };
  const Part parts[] = {
      {"attn_q.weight", "attn_q.bias", spec.q_width(), &W::q, &W::q_bias},
      {"attn_k.weight", "attn_k.bias", spec.kv_width(), &W::k, &W::k_bias},
      {"attn_v.weight", "attn_v.bias", spec.kv_width(), &W::v, &W::v_bias},
  };
  int first = 0;
  for (const Part& part : parts) {
    MatrixSource& m = list.emplace_back();
    m.tensor = layer_tensor(layer, spec.fused_qkv ? "attn_qkv.weight" : part.weight);
    m.bias_tensor = layer_tensor(layer, spec.fused_qkv ? "attn_qkv.bias" : part.bias);
    m.first_row = spec.fused_qkv ? first : 0;
    m.rows = part.rows;
    m.cols = spec.hidden;
    m.tensor_rows = spec.fused_qkv ? spec.q_width() + 2 * spec.kv_width() : part.rows;
    m.matrix = part.matrix;
    m.bias = part.vector;
    m.bias_required = spec.needs_qkv_bias;
    first += part.rows;
  }
}

MatrixSource plain(int layer, const char* weight, int rows, int cols, kernels::Matrix W::*matrix) {
  MatrixSource m;
  m.tensor = layer_tensor(layer, weight);
  m.rows = m.tensor_rows = rows;
  m.cols = cols;
  m.matrix = matrix;
  return m;
}

void add_dense_ffn(const DecoderSpec& spec, int layer, std::vector<MatrixSource>& list) {
  const auto with_bias = [&](MatrixSource m, const char* bias, std::vector<float> W::*vector) {
    m.bias_tensor = layer_tensor(layer, bias);
    m.bias = vector;
    m.bias_required = spec.needs_block_bias;
    list.push_back(std::move(m));
  };
  if (spec.fused_gate_up) {
    MatrixSource gate = plain(layer, "ffn_up.weight", spec.ffn, spec.hidden, &W::gate);
    gate.tensor_rows = 2 * spec.ffn;
    MatrixSource up = gate;
    up.first_row = spec.ffn;
    up.matrix = &W::up;
    with_bias(std::move(gate), "ffn_up.bias", &W::gate_bias);
    with_bias(std::move(up), "ffn_up.bias", &W::up_bias);
  } else {
    if (spec.gated) {
      with_bias(plain(layer, "ffn_gate.weight", spec.ffn, spec.hidden, &W::gate), "ffn_gate.bias",
                &W::gate_bias);
    }
    with_bias(plain(layer, "ffn_up.weight", spec.ffn, spec.hidden, &W::up), "ffn_up.bias",
              &W::up_bias);
  }
  with_bias(plain(layer, "ffn_down.weight", spec.hidden, spec.ffn, &W::down), "ffn_down.bias",
            &W::down_bias);
}

void add_experts(const DecoderSpec& spec, int layer, bool split, std::vector<MatrixSource>& list) {
  struct Part {
    const char* name;
    int rows, cols;
    kernels::Matrix ExpertWeights::*matrix;
  };
  const Part parts[] = {{"ffn_gate", spec.ffn, spec.hidden, &ExpertWeights::gate},
                        {"ffn_up", spec.ffn, spec.hidden, &ExpertWeights::up},
                        {"ffn_down", spec.hidden, spec.ffn, &ExpertWeights::down}};
  list.push_back(plain(layer, "ffn_gate_inp.weight", spec.n_experts, spec.hidden, &W::router));
  for (int e = 0; e < spec.n_experts; ++e) {
    for (const Part& part : parts) {
      MatrixSource& m = list.emplace_back();
      m.tensor = split ? fmt::format("blk.{}.{}.{}.weight", layer, part.name, e)
                       : fmt::format("blk.{}.{}_exps.weight", layer, part.name);
      m.first_row = split ? 0 : e * part.rows;
      m.rows = m.tensor_rows = part.rows;
      m.cols = part.cols;
      m.tensor_experts = split ? 0 : spec.n_experts;
      m.expert_matrix = part.matrix;
      m.expert = e;
    }
  }
}

}  // namespace

std::string layer_tensor(int layer, const char* role) {
  return fmt::format("blk.{}.{}", layer, role);
}

std::vector<MatrixSource> layer_matrices(const DecoderSpec& spec, int layer, bool split_experts) {
  std::vector<MatrixSource> list;
  add_qkv(spec, layer, list);
  MatrixSource out =
      plain(layer, "attn_output.weight", spec.hidden, spec.q_width(), &LayerWeights::out);
  out.bias_tensor = layer_tensor(layer, "attn_output.bias");
  out.bias = &LayerWeights::out_bias;
  out.bias_required = spec.needs_block_bias;
  list.push_back(std::move(out));
  if (spec.n_experts > 0) {
    add_experts(spec, layer, split_experts, list);
  } else {
    add_dense_ffn(spec, layer, list);
  }
  return list;
}

std::vector<NormSource> layer_norms(const DecoderSpec& spec, int layer) {
  std::vector<NormSource> list;
  const auto add = [&](const char* role, std::vector<float> W::*weight, const char* bias_role,
                       std::vector<float> W::*bias) {
    NormSource& n = list.emplace_back();
    n.tensor = layer_tensor(layer, role);
    n.width = spec.hidden;
    n.weight = weight;
    if (spec.norm_kind == NormKind::kLayer && bias != nullptr) {
      n.bias_tensor = layer_tensor(layer, bias_role);
      n.bias = bias;
    }
  };
  if (spec.pre_norm) {
    add("attn_norm.weight", &W::attn_norm, "attn_norm.bias", &W::attn_norm_bias);
  }
  if (spec.second_attn_norm) {
    add("attn_norm_2.weight", &W::attn_norm_2, "attn_norm_2.bias", &W::attn_norm_2_bias);
  }
  if (spec.has_ffn_norm()) {
    add("ffn_norm.weight", &W::ffn_norm, "ffn_norm.bias", &W::ffn_norm_bias);
  }
  if (spec.post_norm) {
    add("post_attention_norm.weight", &W::post_attn_norm, nullptr, nullptr);
    add("post_ffw_norm.weight", &W::post_ffn_norm, nullptr, nullptr);
  }
  const auto add_heads = [&](const char* role, std::vector<float> W::*weight, int heads) {
    NormSource& n = list.emplace_back();
    n.tensor = layer_tensor(layer, role);
    n.width = spec.qk_norm == QkNorm::kHead ? spec.head_dim : heads * spec.head_dim;
    n.own_heads = spec.qk_norm == QkNorm::kOwnHead ? heads : 0;
    n.weight = weight;
  };
  if (spec.qk_norm != QkNorm::kNone) {
    add_heads("attn_q_norm.weight", &W::q_norm, spec.n_heads);
    add_heads("attn_k_norm.weight", &W::k_norm, spec.n_kv_heads);
  }
  return list;
}

}  // namespace layerscope::model

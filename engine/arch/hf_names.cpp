#include "engine/arch/hf_names.h"

#include <array>
#include <cstdint>

namespace layerscope::arch {
namespace {

using enum HfChange;
using enum HfValue;

// Tables of names, as the transformers library writes them (its `modeling_*.py` files).
constexpr std::array kLlamaModel{HfTensor{"model.embed_tokens", "token_embd"},
                                 HfTensor{"model.norm", "output_norm"},
                                 HfTensor{"lm_head", "output"}};

constexpr std::array kLlamaLayer{
    HfTensor{"input_layernorm", "attn_norm"}, HfTensor{"post_attention_layernorm", "ffn_norm"},
    HfTensor{"self_attn.q_proj", "attn_q"}, HfTensor{"self_attn.k_proj", "attn_k"},
    HfTensor{"self_attn.v_proj", "attn_v"}, HfTensor{"self_attn.o_proj", "attn_output"},
    HfTensor{"self_attn.q_norm", "attn_q_norm"}, HfTensor{"self_attn.k_norm", "attn_k_norm"},
    HfTensor{"mlp.gate_proj", "ffn_gate"}, HfTensor{"mlp.up_proj", "ffn_up"},
    HfTensor{"mlp.down_proj", "ffn_down"},
    // Mixtral
    HfTensor{"block_sparse_moe.gate", "ffn_gate_inp"},
    HfTensor{"block_sparse_moe.experts.{}.w1", "ffn_gate_exps", kStackExperts},
    HfTensor{"block_sparse_moe.experts.{}.w3", "ffn_up_exps", kStackExperts},
    HfTensor{"block_sparse_moe.experts.{}.w2", "ffn_down_exps", kStackExperts},
    // Qwen3 MoE
    HfTensor{"mlp.gate", "ffn_gate_inp"},
    HfTensor{"mlp.experts.{}.gate_proj", "ffn_gate_exps", kStackExperts},
    HfTensor{"mlp.experts.{}.up_proj", "ffn_up_exps", kStackExperts},
    HfTensor{"mlp.experts.{}.down_proj", "ffn_down_exps", kStackExperts},
    // StableLM 2 12B
    HfTensor{"self_attn.q_layernorm.norms.{}", "attn_q_norm", kStackHeads},
    HfTensor{"self_attn.k_layernorm.norms.{}", "attn_k_norm", kStackHeads},
    // Starcoder 2
    HfTensor{"mlp.c_fc", "ffn_up"}, HfTensor{"mlp.c_proj", "ffn_down"},
    // Phi 3
    HfTensor{"self_attn.qkv_proj", "attn_qkv"}, HfTensor{"mlp.gate_up_proj", "ffn_up"}};

constexpr std::array kGemmaModel{HfTensor{"model.embed_tokens", "token_embd"},
                                 HfTensor{"model.norm", "output_norm", kAddOne},
                                 HfTensor{"lm_head", "output"}};

constexpr std::array kGemmaLayer{HfTensor{"input_layernorm", "attn_norm", kAddOne},
                                 HfTensor{"post_attention_layernorm", "ffn_norm", kAddOne},
                                 HfTensor{"self_attn.q_proj", "attn_q"},
                                 HfTensor{"self_attn.k_proj", "attn_k"},
                                 HfTensor{"self_attn.v_proj", "attn_v"},
                                 HfTensor{"self_attn.o_proj", "attn_output"},
                                 HfTensor{"mlp.gate_proj", "ffn_gate"},
                                 HfTensor{"mlp.up_proj", "ffn_up"},
                                 HfTensor{"mlp.down_proj", "ffn_down"}};

constexpr std::array kGemma2Layer{
    HfTensor{"input_layernorm", "attn_norm", kAddOne},
    HfTensor{"post_attention_layernorm", "post_attention_norm", kAddOne},
    HfTensor{"pre_feedforward_layernorm", "ffn_norm", kAddOne},
    HfTensor{"post_feedforward_layernorm", "post_ffw_norm", kAddOne},
    HfTensor{"self_attn.q_norm", "attn_q_norm", kAddOne},
    HfTensor{"self_attn.k_norm", "attn_k_norm", kAddOne},
    HfTensor{"self_attn.q_proj", "attn_q"},
    HfTensor{"self_attn.k_proj", "attn_k"},
    HfTensor{"self_attn.v_proj", "attn_v"},
    HfTensor{"self_attn.o_proj", "attn_output"},
    HfTensor{"mlp.gate_proj", "ffn_gate"},
    HfTensor{"mlp.up_proj", "ffn_up"},
    HfTensor{"mlp.down_proj", "ffn_down"}};

constexpr std::array kOlmo2Layer{HfTensor{"post_attention_layernorm", "post_attention_norm"},
                                 HfTensor{"post_feedforward_layernorm", "post_ffw_norm"},
                                 HfTensor{"self_attn.q_proj", "attn_q"},
                                 HfTensor{"self_attn.k_proj", "attn_k"},
                                 HfTensor{"self_attn.v_proj", "attn_v"},
                                 HfTensor{"self_attn.o_proj", "attn_output"},
                                 HfTensor{"self_attn.q_norm", "attn_q_norm"},
                                 HfTensor{"self_attn.k_norm", "attn_k_norm"},
                                 HfTensor{"mlp.gate_proj", "ffn_gate"},
                                 HfTensor{"mlp.up_proj", "ffn_up"},
                                 HfTensor{"mlp.down_proj", "ffn_down"}};

constexpr std::array kPhi2Model{HfTensor{"model.embed_tokens", "token_embd"},
                                HfTensor{"model.final_layernorm", "output_norm"},
                                HfTensor{"lm_head", "output"}};

constexpr std::array kPhi2Layer{HfTensor{"input_layernorm", "attn_norm"},
                                HfTensor{"self_attn.q_proj", "attn_q"},
                                HfTensor{"self_attn.k_proj", "attn_k"},
                                HfTensor{"self_attn.v_proj", "attn_v"},
                                HfTensor{"self_attn.dense", "attn_output"},
                                HfTensor{"mlp.fc1", "ffn_up"},
                                HfTensor{"mlp.fc2", "ffn_down"}};

constexpr std::array kGpt2Model{HfTensor{"wte", "token_embd"}, HfTensor{"wpe", "position_embd"},
                                HfTensor{"ln_f", "output_norm"}, HfTensor{"lm_head", "output"}};

constexpr std::array kGpt2Layer{HfTensor{"ln_1", "attn_norm"},
                                HfTensor{"ln_2", "ffn_norm"},
                                HfTensor{"attn.c_attn", "attn_qkv", kTranspose},
                                HfTensor{"attn.c_proj", "attn_output", kTranspose},
                                HfTensor{"mlp.c_fc", "ffn_up", kTranspose},
                                HfTensor{"mlp.c_proj", "ffn_down", kTranspose}};

constexpr std::array kNeoxModel{HfTensor{"gpt_neox.embed_in", "token_embd"},
                                HfTensor{"gpt_neox.final_layer_norm", "output_norm"},
                                HfTensor{"embed_out", "output"}};

constexpr std::array kNeoxLayer{HfTensor{"input_layernorm", "attn_norm"},
                                HfTensor{"post_attention_layernorm", "ffn_norm"},
                                HfTensor{"attention.query_key_value", "attn_qkv", kNeoxQkv},
                                HfTensor{"attention.dense", "attn_output"},
                                HfTensor{"mlp.dense_h_to_4h", "ffn_up"},
                                HfTensor{"mlp.dense_4h_to_h", "ffn_down"}};

constexpr std::array kFalconModel{HfTensor{"word_embeddings", "token_embd"},
                                  HfTensor{"ln_f", "output_norm"}, HfTensor{"lm_head", "output"}};

constexpr std::array kFalconLayer{
    HfTensor{"input_layernorm", "attn_norm"},
    HfTensor{"ln_mlp", "attn_norm"},
    HfTensor{"ln_attn", "attn_norm_2"},
    HfTensor{"self_attention.query_key_value", "attn_qkv", kFalconQkv},
    HfTensor{"self_attention.dense", "attn_output"},
    HfTensor{"mlp.dense_h_to_4h", "ffn_up"},
    HfTensor{"mlp.dense_4h_to_h", "ffn_down"}};

constexpr std::array<HfArchitecture, 20> kArchitectures{{
    {"llama", "llama", "model.layers.", kLlamaModel, kLlamaLayer, true},
    {"mistral", "llama", "model.layers.", kLlamaModel, kLlamaLayer, true},
    {"mixtral", "llama", "model.layers.", kLlamaModel, kLlamaLayer, true},
    {"qwen2", "qwen2", "model.layers.", kLlamaModel, kLlamaLayer},
    {"qwen3", "qwen3", "model.layers.", kLlamaModel, kLlamaLayer},
    {"qwen3_moe", "qwen3moe", "model.layers.", kLlamaModel, kLlamaLayer},
    {"gemma", "gemma", "model.layers.", kGemmaModel, kGemmaLayer},
    {"gemma2", "gemma2", "model.layers.", kGemmaModel, kGemma2Layer},
    {"gemma3_text", "gemma3", "model.layers.", kGemmaModel, kGemma2Layer},
    {"gemma3", "gemma3", "model.layers.", kGemmaModel, kGemma2Layer},
    {"phi", "phi2", "model.layers.", kPhi2Model, kPhi2Layer},
    {"phi3", "phi3", "model.layers.", kLlamaModel, kLlamaLayer},
    {"gpt2", "gpt2", "h.", kGpt2Model, kGpt2Layer},
    {"gpt_neox", "gptneox", "gpt_neox.layers.", kNeoxModel, kNeoxLayer},
    {"olmo2", "olmo2", "model.layers.", kLlamaModel, kOlmo2Layer},
    {"starcoder2", "starcoder2", "model.layers.", kLlamaModel, kLlamaLayer},
    {"stablelm", "stablelm", "model.layers.", kLlamaModel, kLlamaLayer},
    {"falcon", "falcon", "h.", kFalconModel, kFalconLayer},
    {"cohere", "command-r", "model.layers.", kLlamaModel, kLlamaLayer},
    {"smollm3", "smollm3", "model.layers.", kLlamaModel, kLlamaLayer, true},
}};

constexpr std::array kKeys{
    HfKey{"num_hidden_layers", "block_count"},
    HfKey{"n_layer", "block_count"},
    HfKey{"hidden_size", "embedding_length"},
    HfKey{"n_embd", "embedding_length"},
    HfKey{"num_attention_heads", "attention.head_count"},
    HfKey{"n_head", "attention.head_count"},
    HfKey{"num_key_value_heads", "attention.head_count_kv"},
    HfKey{"num_kv_heads", "attention.head_count_kv"},
    HfKey{"intermediate_size", "feed_forward_length"},
    HfKey{"ffn_hidden_size", "feed_forward_length"},
    HfKey{"n_inner", "feed_forward_length"},
    HfKey{"max_position_embeddings", "context_length"},
    HfKey{"n_positions", "context_length"},
    HfKey{"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
    HfKey{"layer_norm_eps", "attention.layer_norm_epsilon"},
    HfKey{"layer_norm_epsilon", "attention.layer_norm_epsilon"},
    HfKey{"norm_epsilon", "attention.layer_norm_epsilon"},
    HfKey{"head_dim", "attention.key_length"},
    HfKey{"head_dim", "attention.value_length"},
    HfKey{"query_pre_attn_scalar", "attention.scale", kInverseRoot},
    HfKey{"attn_logit_softcapping", "attn_logit_softcapping"},
    HfKey{"final_logit_softcapping", "final_logit_softcapping"},
    HfKey{"logit_scale", "logit_scale"},
    HfKey{"partial_rotary_factor", "rope.dimension_count", kHeadFraction},
    HfKey{"rotary_pct", "rope.dimension_count", kHeadFraction},
    HfKey{"rope_parameters.partial_rotary_factor", "rope.dimension_count", kHeadFraction},
    HfKey{"rope_parameters.full_attention.rope_theta", "rope.freq_base"},
    HfKey{"rope_parameters.rope_theta", "rope.freq_base"},
    HfKey{"rope_theta", "rope.freq_base"},
    HfKey{"rotary_emb_base", "rope.freq_base"},
    HfKey{"rope_parameters.sliding_attention.rope_theta", "rope.freq_base_swa"},
    HfKey{"rope_local_base_freq", "rope.freq_base_swa"},
    HfKey{"use_parallel_residual", "use_parallel_residual"},
    HfKey{"num_local_experts", "expert_count"},
    HfKey{"num_experts", "expert_count"},
    HfKey{"num_experts_per_tok", "expert_used_count"},
    HfKey{"moe_intermediate_size", "expert_feed_forward_length"},
    HfKey{"norm_topk_prob", "expert_weights_norm"},
};

}  // namespace

const HfArchitecture* find_hf_architecture(std::string_view model_type) {
  for (const HfArchitecture& each : kArchitectures) {
    if (each.model_type == model_type) {
      return &each;
    }
  }
  return nullptr;
}

std::span<const HfArchitecture> hf_architectures() { return kArchitectures; }
std::span<const HfKey> hf_keys() { return kKeys; }

}  // namespace layerscope::arch

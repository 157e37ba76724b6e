#include "engine/backend/cuda_support.h"

namespace layerscope::backend {

std::string cuda_does_not_run(const model::Model& model) {
  const model::DecoderSpec& spec = model.spec;
  const model::LayerWeights& layer = model.weights.layers.front();
  const bool block_bias =
      !layer.gate_bias.empty() || !layer.up_bias.empty() || !layer.down_bias.empty();
  const struct {
    bool asked;
    const char* what;
  } features[] = {
      {spec.norm_kind == model::NormKind::kLayer, "layer norm"},
      {!spec.pre_norm, "blocks without a norm before them"},
      {spec.post_norm, "norms after the blocks"},
      {spec.parallel, "attention and feed-forward side by side"},
      {spec.qk_norm != model::QkNorm::kNone, "QK-norm"},
      {spec.learned_positions, "learned positions"},
      {spec.no_rope_every != 0, "layers without RoPE"},
      {spec.rope_factor != 1.0, "a RoPE attention factor"},
      {spec.rope_scaling == model::RopeScaling::kLongRope, "LongRoPE"},
      {spec.rope_scaling == model::RopeScaling::kDynamic, "dynamic RoPE scaling"},
      {spec.rope_base_windowed > 0.0, "two RoPE bases"},
      {spec.attention_cap > 0.0F, "soft-capped scores"},
      {spec.window > 0, "a sliding window"},
      {!spec.gated, "a feed-forward without a gate"},
      {spec.activation != kernels::Activation::kSilu, "the GELU activation"},
      {block_bias, "biases of the feed-forward"},
      {spec.n_experts > 0, "experts"},
      {!model.weights.head_bias.empty(), "a bias of the head"},
      {spec.embedding_scale != 1.0F, "a scaled embedding"},
      {spec.logit_scale != 1.0F, "scaled logits"},
      {spec.logit_cap > 0.0F, "soft-capped logits"},
  };
  std::string text;
  for (const auto& feature : features) {
    if (feature.asked) {
      text += text.empty() ? feature.what : std::string(", ") + feature.what;
    }
  }
  return text;
}

}  // namespace layerscope::backend

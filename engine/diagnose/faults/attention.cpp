// Faults of attention: RoPE, KV cache, scale, soft-max, mask, head map, precision.
#include <fmt/format.h>

#include <cmath>

#include "engine/diagnose/faults/faults.h"

namespace layerscope::diagnose {
namespace {

using Kind = model::InterventionKind;
using model::Interventions;
using model::Model;

template <Kind kKind>
Result<Interventions> placed(const Model& /*model*/, const FaultArguments& given) {
  return at_place(kKind, given);
}

template <Kind kKind>
Result<Interventions> rotated(const Model& model, const FaultArguments& given) {
  if (model.spec.rope_pairing == kernels::RopePairing::kNone) {
    return usage_error("this model has no rotary embedding");
  }
  constexpr double kOld = 1e4;
  constexpr double kLong = 5e5;
  return at_place(kKind, given, model.spec.rope_base == kOld ? kLong : kOld);
}

Result<Interventions> qk_norm_off(const Model& model, const FaultArguments& given) {
  if (model.spec.qk_norm == model::QkNorm::kNone) {
    return usage_error(fmt::format("architecture '{}' has no norm of Q and K to leave out",
                                   model.spec.architecture));
  }
  return at_place(Kind::kQkNormOff, given);
}

Result<Interventions> kv_zero(const Model& /*model*/, const FaultArguments& given) {
  FaultArguments at = given;
  at.index = given.position >= 0 ? given.position : 1;
  return at_place(Kind::kKvZero, at);
}

Result<Interventions> scale_none(const Model& model, const FaultArguments& given) {
  return at_place(Kind::kAttentionScale, given,
                  1.0 / static_cast<double>(model.spec.attention_scale));
}

Result<Interventions> scale_double(const Model& model, const FaultArguments& given) {
  return at_place(Kind::kAttentionScale, given, static_cast<double>(model.spec.attention_scale));
}

Result<Interventions> cap_off(const Model& model, const FaultArguments& given) {
  if (model.spec.attention_cap == 0.0F) {
    return usage_error(fmt::format("architecture '{}' has no soft-cap on its scores (Gemma 2 has)",
                                   model.spec.architecture));
  }
  return at_place(Kind::kScoreCapOff, given);
}

Result<Interventions> logit_cap_off(const Model& model, const FaultArguments& given) {
  if (model.spec.logit_cap == 0.0F) {
    return usage_error(fmt::format("architecture '{}' has no soft-cap on its logits (Gemma 2 has)",
                                   model.spec.architecture));
  }
  return at_place(Kind::kLogitCapOff, given);
}

Result<Interventions> window_off(const Model& model, const FaultArguments& given) {
  if (model.spec.window == 0 || (given.layer >= 0 && !model.spec.layer_windowed(given.layer))) {
    return usage_error(model.spec.window == 0 ? "this model has no sliding window"
                                              : "this layer has no sliding window");
  }
  return at_place(Kind::kWindowOff, given);
}

template <Kind kKind>
Result<Interventions> grouped(const Model& model, const FaultArguments& given) {
  const bool one_group = model.spec.n_kv_heads == 1;
  if (model.spec.n_heads == model.spec.n_kv_heads || one_group) {
    return usage_error(one_group
                           ? "this model has one KV head, so every head map is the same"
                           : "this model has no grouped KV heads: every query head has its own");
  }
  return at_place(kKind, given);
}

}  // namespace

std::vector<Fault> rope_faults() {
  return {
      {"rope:off",
       "RoPE not applied",
       "Q and K keep no trace of their position.",
       {Argument::kLayer, Argument::kHead},
       0,
       rotated<Kind::kRopeOff>},
      {"rope:twice",
       "RoPE applied twice",
       "Both the projection and the cache write rotate: every angle is doubled.",
       {Argument::kLayer, Argument::kHead},
       0,
       rotated<Kind::kRopeTwice>},
      {"rope:pairing",
       "wrong RoPE pairing",
       "Adjacent dimensions are paired where halves should be, or the other way round. Position 0 "
       "is right, norms are right, everything after drifts.",
       {Argument::kLayer, Argument::kHead},
       0,
       rotated<Kind::kRopePairing>},
      {"rope:base",
       "wrong RoPE base",
       "The frequencies are those of another base: short texts work, long ones fall apart.",
       {Argument::kLayer, Argument::kHead},
       0,
       rotated<Kind::kRopeBase>},
      {"qk-norm:off",
       "QK-norm left out",
       "Models that normalise Q and K per head are run without it.",
       {Argument::kLayer},
       0,
       qk_norm_off},
  };
}

std::vector<Fault> kv_faults() {
  return {
      {"kv:stuck",
       "KV cursor stuck",
       "Every decoded token is written to the same slot: attention sees the prompt, the newest "
       "token "
       "and empty slots.",
       {Argument::kLayer},
       0,
       placed<Kind::kKvStuck>},
      {"kv:stale",
       "KV written too late",
       "Attention reads a slot before it is written and finds the token before.",
       {Argument::kLayer},
       0,
       placed<Kind::kKvStale>},
      {"kv:zero",
       "hole in the KV cache",
       "One slot reads as zero: a token is forgotten.",
       {Argument::kPosition, Argument::kLayer},
       0,
       kv_zero},
      {"kv:off-by-one",
       "KV written one slot too far",
       "Attention reads slots one before where they were written.",
       {Argument::kLayer},
       0,
       placed<Kind::kKvOffByOne>},
  };
}

std::vector<Fault> attention_faults() {
  return {
      {"scale:none",
       "attention not scaled",
       "q·k is not divided by the square root of the head's size: rows are saturated.",
       {Argument::kLayer, Argument::kHead},
       0,
       scale_none},
      {"scale:double",
       "attention scaled twice",
       "The scale is in the weights and in the kernel: rows are too flat.",
       {Argument::kLayer, Argument::kHead},
       0,
       scale_double},
      {"soft-cap:scores",
       "soft-cap of the scores left out",
       "Gemma 2 bends large scores back below a cap; without it a few keys take everything.",
       {Argument::kLayer, Argument::kHead},
       0,
       cap_off},
      {"soft-cap:logits",
       "soft-cap of the logits left out",
       "Gemma 2 bends the logits too: the ranking stays, the probabilities do not.",
       {},
       0,
       logit_cap_off},
      {"softmax:unnormalised",
       "soft-max without its division",
       "Exponentials are used as weights: rows sum to more than one.",
       {Argument::kLayer, Argument::kHead},
       0,
       placed<Kind::kSoftmaxUnnormalised>},
      {"mask:off",
       "causal mask missing",
       "In prefill every token sees the ones after it; decoding is right.",
       {Argument::kLayer, Argument::kHead},
       0,
       placed<Kind::kMaskOff>},
      {"window:off",
       "sliding window ignored",
       "Layers that were trained to see the last tokens only see everything: short texts work.",
       {Argument::kLayer, Argument::kHead},
       0,
       window_off},
      {"gqa:modulo",
       "KV heads taken by remainder",
       "Query head h reads KV head h mod n instead of h / group.",
       {Argument::kLayer, Argument::kHead},
       0,
       grouped<Kind::kGqaModulo>},
      {"gqa:first",
       "all heads read the first KV head",
       "The other KV heads are computed and never read.",
       {Argument::kLayer, Argument::kHead},
       0,
       grouped<Kind::kGqaFirst>},
      {"score-f16",
       "scores in float16",
       "q·k is accumulated in half precision: rounded always, infinite for large heads.",
       {Argument::kLayer, Argument::kHead},
       0,
       placed<Kind::kScoreF16>},
  };
}

}  // namespace layerscope::diagnose

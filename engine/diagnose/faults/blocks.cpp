// Faults of embedding, blocks and residual stream, of the head, and of what stands around the
// forward pass.
#include <fmt/format.h>

#include <algorithm>

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

Result<Interventions> unscaled(const Model& model, const FaultArguments& given) {
  if (model.spec.embedding_scale == 1.0F) {
    return usage_error(fmt::format("architecture '{}' does not scale its embedding (Gemma does)",
                                   model.spec.architecture));
  }
  return at_place(Kind::kEmbeddingUnscaled, given);
}

Result<Interventions> channel(const Model& /*model*/, const FaultArguments& given) {
  constexpr double kOff = 1.15;  // the documented case was 15 % off
  return at_place(Kind::kChannel, given, kOff);
}

template <Kind kKind>
Result<Interventions> routed(const Model& model, const FaultArguments& given) {
  const model::DecoderSpec& spec = model.spec;
  if (spec.n_experts == 0) {
    return usage_error("this model has no experts to route to");
  }
  if (kKind == Kind::kRouteUnnormalised && !spec.expert_weights_norm) {
    return usage_error("this model does not divide its experts' weights by their sum");
  }
  if (spec.n_experts_used == spec.n_experts) {
    return usage_error("this model uses all of its experts, so there is nothing to choose");
  }
  return at_place(kKind, given);
}

/// Without arguments an ablation takes the middle of the model: something to look at.
FaultArguments or_middle(const Model& model, const FaultArguments& given) {
  FaultArguments place = given;
  if (place.layer < 0) {
    place.layer = model.spec.n_layers / 2;
  }
  return place;
}

Result<Interventions> ablate_head(const Model& model, const FaultArguments& given) {
  FaultArguments place = or_middle(model, given);
  place.head = std::max(0, place.head);
  return at_place(Kind::kAblateHead, place);
}

Result<Interventions> ablate_layer(const Model& model, const FaultArguments& given) {
  const FaultArguments place = or_middle(model, given);
  LS_TRY(Interventions list, at_place(Kind::kAblateAttention, place));
  LS_TRY(const Interventions ffn, at_place(Kind::kAblateFfn, place));
  list.push_back(ffn.front());
  return list;
}

Result<Interventions> ablate_ffn(const Model& model, const FaultArguments& given) {
  return at_place(Kind::kAblateFfn, or_middle(model, given));
}

Result<Interventions> padded(const Model& model, const FaultArguments& given) {
  const std::vector<bool> usable = model.usable_rows();
  if (std::find(usable.begin(), usable.end(), false) == usable.end()) {
    return usage_error("every row of this model's head is a token, so there is no padding to scan");
  }
  LS_TRY(Interventions list, at_place(Kind::kHeadLeftover, given));
  list.push_back({Kind::kSamplePadding, -1, -1, -1, 0.0, {}});
  return list;
}

Result<Interventions> bos_missing(const Model& model, const FaultArguments& given) {
  if (!model.tokenizer->adds_bos()) {
    return usage_error("this model's tokenizer adds no BOS, so none can be missing");
  }
  return at_place(Kind::kBosMissing, given);
}

Result<Interventions> bos_double(const Model& model, const FaultArguments& given) {
  if (!model.tokenizer->adds_bos()) {
    return usage_error("this model's tokenizer adds no BOS, so none can be doubled");
  }
  return at_place(Kind::kBosDouble, given);
}

}  // namespace

std::vector<Fault> block_faults() {
  return {
      {"embedding:zero",
       "embedding all zero",
       "The table was never copied to where it is read.",
       {},
       0,
       placed<Kind::kEmbeddingZero>},
      {"embedding:shift",
       "wrong embedding row",
       "Every token gets the row of the next one.",
       {},
       0,
       placed<Kind::kEmbeddingShift>},
      {"embedding:unscaled",
       "embedding not scaled",
       "Gemma multiplies the embedding by the square root of its width.",
       {},
       0,
       unscaled},
      {"residual:skip",
       "attention not added",
       "What attention gives is computed and then forgotten.",
       {Argument::kLayer},
       0,
       placed<Kind::kResidualSkip>},
      {"nan",
       "NaN in one layer",
       "One value becomes NaN and spreads to everything after it.",
       {Argument::kLayer},
       1,
       placed<Kind::kNan>},
      {"channel",
       "one channel wrong",
       "One channel of a layer's output is 15 % off: a cosine over the whole row barely moves.",
       {Argument::kLayer, Argument::kIndex},
       2,
       channel},
      {"ablate:head",
       "head switched off",
       "One attention head gives zero.",
       {Argument::kLayer, Argument::kHead},
       0,
       ablate_head},
      {"ablate:layer",
       "layer switched off",
       "A layer adds nothing to the stream.",
       {Argument::kLayer},
       0,
       ablate_layer},
      {"ablate:ffn",
       "feed-forward switched off",
       "A layer's feed-forward adds nothing.",
       {Argument::kLayer},
       0,
       ablate_ffn},
  };
}

std::vector<Fault> expert_faults() {
  return {
      {"moe:unnormalised",
       "expert weights not normalised",
       "The chosen experts' soft-max weights are used without dividing them by their sum.",
       {Argument::kLayer},
       0,
       routed<Kind::kRouteUnnormalised>},
      {"moe:wrong-experts",
       "wrong experts",
       "The ranking is read one place too low: the best expert is never asked.",
       {Argument::kLayer},
       0,
       routed<Kind::kRouteShifted>},
  };
}

std::vector<Fault> head_faults() {
  return {
      {"head:unwritten-rows",
       "head rows never written",
       "The product's grid covers half of the vocabulary; the other logits stay zero.",
       {},
       0,
       placed<Kind::kHeadUnwritten>},
      {"head:padded",
       "padding scanned",
       "Rows beyond the tokenizer's tokens hold leftovers, and the scan for the next token looks "
       "at "
       "them too.",
       {},
       0,
       padded},
      {"head:untied",
       "wrong head",
       "A tied model gets a head that was never filled, or a model with its own head gets the "
       "embedding.",
       {},
       0,
       placed<Kind::kWrongHead>},
  };
}

std::vector<Fault> run_faults() {
  return {
      {"sampling:top-p-before-softmax",
       "top-p before the soft-max",
       "Top-p adds up logits instead of probabilities.",
       {},
       0,
       placed<Kind::kTopPBeforeSoftmax>},
      {"sampling:no-temperature",
       "temperature ignored",
       "Every draw is made at temperature 1.",
       {},
       0,
       placed<Kind::kIgnoreTemperature>},
      {"bos:missing",
       "BOS missing",
       "The prompt starts without the token it should start with.",
       {},
       0,
       bos_missing},
      {"bos:double", "BOS doubled", "Template and tokenizer both add BOS.", {}, 0, bos_double},
  };
}

}  // namespace layerscope::diagnose

#include "engine/session/fault_candidates.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "engine/diagnose/fault.h"

namespace layerscope::session {
namespace {

using capture::Tap;
using diagnose::Argument;
using diagnose::Fault;

/// Values to try for each kind of argument.
struct Place {
  std::vector<std::string> layers, heads, channels, positions, tensors;
};

bool is_attention(Tap tap) { return tap == Tap::kAttnScores || tap == Tap::kAttnWeights; }

/// Matrices of the file that belong to a layer, or to none when the layer is −1.
std::vector<std::string> matrices(const model::Model& model, int layer) {
  std::vector<std::string> names;
  const std::string prefix = fmt::format("blk.{}.", layer);
  for (const format::TensorInfo& tensor : model.file->tensors) {
    const bool here =
        layer < 0 ? !tensor.name.starts_with("blk.") : tensor.name.starts_with(prefix);
    if (here && tensor.shape.size() == 2) {
      names.push_back(tensor.name);
      if (layer >= 0) {
        names.push_back(tensor.name.substr(prefix.size()));  // the same of every layer
      }
    }
  }
  return names;
}

Place place_of(const model::Model& model, const compare::Pair& first) {
  Place place;
  const compare::Difference& d = first.difference;
  if (first.layer >= 0) {
    place.layers.push_back(std::to_string(first.layer));
  }
  if (d.head >= 0) {
    place.heads.push_back(std::to_string(d.head));
  }
  const int channel = d.channel >= 0 ? d.channel : d.worst_channel;
  if (channel >= 0 && channel < model.spec.hidden && !is_attention(first.tap)) {
    place.channels.push_back(std::to_string(channel));
  }
  if (is_attention(first.tap) && channel >= 0) {
    place.positions.push_back(std::to_string(channel));
  }
  place.tensors = matrices(model, first.layer);
  // The first divergence may be an effect of what was not captured before it.
  const std::vector<std::string> global = matrices(model, -1);
  place.tensors.insert(place.tensors.end(), global.begin(), global.end());
  return place;
}

const std::vector<std::string>& values_of(Argument argument, const Place& place) {
  switch (argument) {
    case Argument::kLayer:
      return place.layers;
    case Argument::kHead:
      return place.heads;
    case Argument::kIndex:
      return place.channels;
    case Argument::kPosition:
      return place.positions;
    case Argument::kTensor:
      break;
  }
  return place.tensors;
}

/// Appends the fault with one, two, … arguments, as far as there are values for them.
void add_placed(const Fault& fault, const Place& place, std::vector<std::string>& out) {
  const char separator =
      std::string_view(fault.name).find(':') != std::string_view::npos ? ',' : ':';
  std::vector<std::string> texts{fault.name};
  if (fault.required == 0) {
    out.emplace_back(fault.name);
  }
  for (std::size_t i = 0; i < fault.arguments.size(); ++i) {
    std::vector<std::string> longer;
    for (const std::string& text : texts) {
      for (const std::string& value : values_of(fault.arguments[i], place)) {
        longer.push_back(fmt::format("{}{}{}", text, i == 0 ? separator : ',', value));
      }
    }
    if (i + 1 >= fault.required) {
      out.insert(out.end(), longer.begin(), longer.end());
    }
    texts = std::move(longer);
  }
}

/// What the forward pass or the model would obey; nothing when it obeys nothing of it.
std::optional<model::Interventions> effect(const std::string& text, const model::Model& model) {
  const auto parsed = diagnose::parse_faults(std::span(&text, 1), model);
  if (!parsed.ok()) {
    return std::nullopt;
  }
  model::Interventions kept;
  for (const model::Intervention& one : parsed.value()) {
    const model::Obeyed by = model::obeyed_by(one.kind);
    if (by == model::Obeyed::kModel || by == model::Obeyed::kForward) {
      kept.push_back(one);
    }
  }
  return kept.empty() ? std::nullopt : std::optional(std::move(kept));
}

}  // namespace

std::vector<std::string> fault_candidates(const model::Model& model, const compare::Pair& first) {
  const Place place = place_of(model, first);
  std::vector<std::string> texts;
  for (const Fault& fault : diagnose::faults()) {
    add_placed(fault, place, texts);
  }
  std::vector<std::string> kept;
  std::vector<model::Interventions> seen;
  for (const std::string& text : texts) {
    auto what = effect(text, model);
    if (what && std::find(seen.begin(), seen.end(), *what) == seen.end()) {
      seen.push_back(std::move(*what));
      kept.push_back(text);
    }
  }
  return kept;
}

}  // namespace layerscope::session

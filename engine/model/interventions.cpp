#include "engine/model/interventions.h"

namespace layerscope::model {

Obeyed obeyed_by(InterventionKind kind) {
  if (kind <= InterventionKind::kNormEpsilon) {
    return Obeyed::kModel;
  }
  if (kind <= InterventionKind::kHeadLeftover) {
    return Obeyed::kForward;
  }
  return kind <= InterventionKind::kIgnoreTemperature ? Obeyed::kSampler : Obeyed::kPrompt;
}

const Intervention* find(std::span<const Intervention> list, InterventionKind kind, int layer,
                         int head) {
  const auto covers = [](int wanted, int place) {
    return wanted < 0 || place < 0 || wanted == place;
  };
  for (const Intervention& item : list) {
    if (item.kind == kind && covers(item.layer, layer) && covers(item.head, head)) {
      return &item;
    }
  }
  return nullptr;
}

}  // namespace layerscope::model

// Which faults are worth trying to explain a difference that starts at a known place.
#pragma once

#include <string>
#include <vector>

#include "engine/compare/comparison.h"
#include "engine/model/model.h"

namespace layerscope::session {

/// Texts for parse_faults, each of which the model accepts and the forward pass obeys: every fault
/// as it stands, and placed where the difference starts (layer, head, channel, key, tensors of the
/// layer). Those with the same effect stand once, the plainest first.
std::vector<std::string> fault_candidates(const model::Model& model, const compare::Pair& first);

}  // namespace layerscope::session

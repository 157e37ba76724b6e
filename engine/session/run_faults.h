// Faults around the forward pass: the sampler's and the prompt's. Called only while interventions
// are set.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/interventions.h"
#include "engine/session/sampler.h"

namespace layerscope::session {

/// As Sampler::sample, wrong in the ways that the list asks for.
Result<std::int32_t> sample_with_faults(const Sampler& sampler,
                                        std::span<const model::Intervention> list,
                                        std::span<const float> logits,
                                        std::span<const std::int32_t> history,
                                        SamplerSettings settings);

/// The prompt's ids with BOS missing or doubled, where the list asks for it.
std::vector<std::int32_t> prompt_with_faults(std::span<const model::Intervention> list,
                                             std::vector<std::int32_t> ids,
                                             const tokenizer::Tokenizer& tokenizer);

}  // namespace layerscope::session

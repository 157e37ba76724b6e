// The faults by group; the registry joins them.
#pragma once

#include "engine/diagnose/fault.h"

namespace layerscope::diagnose {

std::vector<Fault> weight_faults();     ///< transpose, drop-bias, dtype, dequant, norm
std::vector<Fault> rope_faults();       ///< rope, qk-norm
std::vector<Fault> kv_faults();         ///< kv
std::vector<Fault> attention_faults();  ///< scale, soft-cap, softmax, mask, window, gqa, score-f16
std::vector<Fault> block_faults();      ///< embedding, residual, nan, channel, ablate
std::vector<Fault> expert_faults();     ///< moe
std::vector<Fault> head_faults();       ///< head
std::vector<Fault> run_faults();        ///< sampling, bos

/// One intervention of a stage at the given layer and head.
inline Result<model::Interventions> at_place(model::InterventionKind kind,
                                             const FaultArguments& given, double amount = 0.0) {
  return model::Interventions{{kind, given.layer, given.head, given.index, amount, {}}};
}

}  // namespace layerscope::diagnose

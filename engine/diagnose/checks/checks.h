// The checks, one function each; the registry lists them.
#pragma once

#include "engine/diagnose/check.h"

namespace layerscope::diagnose {

void check_weights(const Subject& subject, Report& report);
void check_tokens(const LiveInput& input, Report& report);
void check_non_finite(const LiveInput& input, Report& report);
void check_embedding(const LiveInput& input, Report& report);
void check_embedding_rows(const DeepInput& input, Report& report);
void check_norms(const DeepInput& input, Report& report);
void check_projections(const DeepInput& input, Report& report);
void check_rope_live(const LiveInput& input, Report& report);
void check_rope(const DeepInput& input, Report& report);
void check_row_sums(const LiveInput& input, Report& report);
void check_attention(const DeepInput& input, Report& report);
void check_residual_live(const LiveInput& input, Report& report);
void check_residual(const DeepInput& input, Report& report);
void check_experts(const DeepInput& input, Report& report);
void check_activation(const DeepInput& input, Report& report);
void check_head(const DeepInput& input, Report& report);
void check_logits(const LiveInput& input, Report& report);
void check_sampling(const LiveInput& input, Report& report);
void check_sampler(const DeepInput& input, Report& report);
void check_consistency(const DeepInput& input, Report& report);
void check_repetition(const LiveInput& input, Report& report);
void check_instrument(const LiveInput& input, Report& report);
void check_instrument_rows(const DeepInput& input, Report& report);

}  // namespace layerscope::diagnose

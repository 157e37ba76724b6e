// Phi-3 (Abdin et al. 2024) and Phi-4: Llama-like with Q, K, V in one tensor and gate and up in
// another; long contexts by LongRoPE; a sliding window in every layer where the file has one.
#include "engine/arch/phi3.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_phi3(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "phi3"));
  spec.fused_gate_up = true;
  LS_CHECK(read_window(file, spec, [](int /*layer*/) { return true; }));
  const bool has_factors = file.find_tensor("rope_factors_long.weight") != nullptr;
  if (has_factors && spec.rope_scaling == model::RopeScaling::kNone) {
    // Converters may write the divisors without naming the scaling.
    const HparamReader reader(file, "phi3");
    spec.rope_scaling = model::RopeScaling::kLongRope;
    LS_TRY(spec.rope_original_context,
           reader.require_int("rope.scaling.original_context_length", 1, spec.train_context));
    LS_TRY(spec.rope_factor, reader.float_or("rope.scaling.attn_factor", 0.0, 1e6, 1.0));
  }
  return spec;
}

}  // namespace layerscope::arch

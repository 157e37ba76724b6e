// Command R (Cohere 2024): layer norm without biases, both blocks side by side on one norm, RoPE on
// adjacent pairs, scaled logits, tied head; the plus model normalises each head of Q and K.
#include "engine/arch/command_r.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_command_r(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "command-r", model::NormKind::kLayer));
  const HparamReader reader(file, "command-r");
  spec.rope_pairing = kernels::RopePairing::kAdjacent;
  spec.parallel = true;
  spec.ffn_shares_norm = true;
  LS_TRY(const double scale, reader.require_float("logit_scale", 0.0, 1e6));
  spec.logit_scale = static_cast<float>(scale);
  if (file.find_tensor("blk.0.attn_q_norm.weight") != nullptr) {
    spec.qk_norm = model::QkNorm::kOwnHead;
    spec.qk_norm_kind = model::NormKind::kLayer;
  }
  return spec;
}

}  // namespace layerscope::arch

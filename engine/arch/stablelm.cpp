// StableLM 2 (Bellagente et al. 2024): layer norm, RoPE on part of each head, SwiGLU; the 12B model
// runs both blocks side by side on one norm and normalises each head of Q and K with its own
// weights.
#include "engine/arch/stablelm.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_stablelm(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "stablelm", model::NormKind::kLayer));
  spec.needs_norm_bias = true;
  // Files of both forms say use_parallel_residual; that the feed-forward has a norm of its own is
  // what tells them apart.
  spec.parallel = file.find_tensor("blk.0.ffn_norm.weight") == nullptr;
  spec.ffn_shares_norm = spec.parallel;
  if (file.find_tensor("blk.0.attn_q_norm.weight") != nullptr) {
    spec.qk_norm = model::QkNorm::kOwnHead;
    spec.qk_norm_kind = model::NormKind::kLayer;
  }
  return spec;
}

}  // namespace layerscope::arch

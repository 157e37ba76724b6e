// Phi-1.5 and Phi-2 (Li et al. 2023): layer norm with biases, one norm for attention and a plain
// GELU feed-forward that run side by side, RoPE on part of each head, biases everywhere.
#include "engine/arch/phi2.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_phi2(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "phi2", model::NormKind::kLayer));
  spec.parallel = true;
  spec.ffn_shares_norm = true;
  spec.gated = false;
  spec.activation = kernels::Activation::kGeluTanh;
  spec.needs_qkv_bias = true;
  spec.needs_norm_bias = true;
  spec.needs_block_bias = true;
  return spec;
}

}  // namespace layerscope::arch

// GPT-2 (Radford et al. 2019): layer norm, learned positions, plain GELU feed-forward, biases
// everywhere, one tensor for Q, K, V.
#include "engine/arch/gpt2.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_gpt2(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "gpt2", model::NormKind::kLayer));
  spec.learned_positions = true;
  spec.rope_pairing = kernels::RopePairing::kNone;
  spec.rope_dim = 0;
  spec.gated = false;
  spec.activation = kernels::Activation::kGeluTanh;
  spec.needs_qkv_bias = true;
  spec.needs_norm_bias = true;
  spec.needs_block_bias = true;
  return spec;
}

}  // namespace layerscope::arch

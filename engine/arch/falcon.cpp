// Falcon (Almazrouei et al. 2023): layer norm, attention and feed-forward side by side, one KV head
// or few, exact GELU, no biases but the norms'; the 40B model has a norm for each block.
#include "engine/arch/falcon.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_falcon(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "falcon", model::NormKind::kLayer));
  spec.parallel = true;
  spec.ffn_shares_norm = true;
  // With two norms the first one is the feed-forward's.
  spec.second_attn_norm = file.find_tensor("blk.0.attn_norm_2.weight") != nullptr;
  spec.gated = false;
  spec.activation = kernels::Activation::kGelu;
  spec.needs_norm_bias = true;
  return spec;
}

}  // namespace layerscope::arch

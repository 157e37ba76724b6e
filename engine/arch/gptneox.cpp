// GPT-NeoX and Pythia (Black et al. 2022): layer norm, RoPE on part of each head (half-split),
// attention and feed-forward side by side with a norm each (the file says whether), exact GELU.
#include "engine/arch/gptneox.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_gptneox(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "gptneox", model::NormKind::kLayer));
  const HparamReader reader(file, "gptneox");
  LS_TRY(spec.parallel, reader.bool_or("use_parallel_residual", true));
  spec.gated = false;
  spec.activation = kernels::Activation::kGelu;
  spec.needs_qkv_bias = true;
  spec.needs_norm_bias = true;
  spec.needs_block_bias = true;
  return spec;
}

}  // namespace layerscope::arch

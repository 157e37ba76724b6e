// StarCoder2 (Lozhkov et al. 2024): layer norm and biases everywhere, GQA, RoPE on half-split
// pairs, plain GELU feed-forward, a sliding window in every layer where the file has one.
#include "engine/arch/starcoder2.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_starcoder2(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "starcoder2", model::NormKind::kLayer));
  spec.gated = false;
  spec.activation = kernels::Activation::kGeluTanh;
  spec.needs_qkv_bias = true;
  spec.needs_norm_bias = true;
  spec.needs_block_bias = true;
  LS_CHECK(read_window(file, spec, [](int /*layer*/) { return true; }));
  return spec;
}

}  // namespace layerscope::arch

// Qwen2 and Qwen2.5 (Yang et al. 2024): as Llama, but RoPE on half-split pairs and biases on Q, K,
// V. The biases are part of the architecture: a file without them is broken, not a variant.
#include "engine/arch/qwen2.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_qwen2(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "qwen2"));
  spec.rope_pairing = kernels::RopePairing::kHalf;
  spec.needs_qkv_bias = true;
  LS_CHECK(read_window(file, spec, [](int /*layer*/) { return true; }));
  return spec;
}

}  // namespace layerscope::arch

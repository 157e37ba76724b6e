// Llama 2, 3, 3.1 (Touvron et al. 2023; Grattafiori et al. 2024): RMS norm, RoPE on adjacent pairs
// (GGUF stores Q and K permuted for it), GQA, SwiGLU, no biases; `rope_freqs` carries 3.1's
// scaling.
#include "engine/arch/llama.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_llama(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "llama"));
  spec.rope_pairing = kernels::RopePairing::kAdjacent;
  return spec;
}

}  // namespace layerscope::arch

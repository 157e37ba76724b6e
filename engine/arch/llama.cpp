// Llama 2, 3, 3.1 (Touvron et al. 2023; Grattafiori et al. 2024), Mistral (Jiang et al. 2023) and
// Mixtral (Jiang et al. 2024): RMS norm, RoPE on adjacent pairs (GGUF stores Q and K permuted for
// it), GQA, SwiGLU; `rope_freqs` carries 3.1's scaling, a sliding window in every layer is
// Mistral's, experts are Mixtral's.
#include "engine/arch/llama.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_llama(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "llama"));
  spec.rope_pairing = kernels::RopePairing::kAdjacent;
  LS_CHECK(read_experts(file, spec));
  LS_CHECK(read_window(file, spec, [](int /*layer*/) { return true; }));
  return spec;
}

}  // namespace layerscope::arch

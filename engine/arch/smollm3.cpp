// SmolLM3 (Bakouch et al. 2025): Llama with every fourth layer left unrotated (NoPE).
#include "engine/arch/smollm3.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_smollm3(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "smollm3"));
  spec.rope_pairing = kernels::RopePairing::kAdjacent;
  constexpr int kEvery = 4;
  spec.no_rope_every = kEvery;
  return spec;
}

}  // namespace layerscope::arch

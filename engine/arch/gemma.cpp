// Gemma (Gemma Team 2024): embedding times the square root of its width, norms that multiply by one
// plus the weight (the file holds the sum), a GELU gate, RoPE on half-split pairs, tied head.
#include "engine/arch/gemma.h"

#include <cmath>

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_gemma(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "gemma"));
  spec.norms_add_one = true;
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden));
  spec.activation = kernels::Activation::kGeluTanh;
  return spec;
}

}  // namespace layerscope::arch

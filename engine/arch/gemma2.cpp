// Gemma 2 (Gemma Team 2024): as Gemma, with norms after the blocks too, soft-caps on scores and
// logits, and a sliding window in every other layer, the first one included.
#include "engine/arch/gemma2.h"

#include <cmath>

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_gemma2(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "gemma2"));
  spec.norms_add_one = true;
  spec.post_norm = true;
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden));
  spec.activation = kernels::Activation::kGeluTanh;
  LS_CHECK(read_soft_caps(file, spec));
  LS_CHECK(read_window(file, spec, [](int layer) { return layer % 2 == 0; }));
  // The 27B model alone divides by the square root of hidden / heads instead of the head's size;
  // files do not say so, only its number of layers tells.
  constexpr int kLayersOf27B = 46;
  if (spec.n_layers == kLayersOf27B && file.find("gemma2.attention.scale") == nullptr) {
    spec.attention_scale =
        1.0F / std::sqrt(static_cast<float>(spec.hidden) / static_cast<float>(spec.n_heads));
  }
  return spec;
}

}  // namespace layerscope::arch

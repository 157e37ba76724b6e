// Gemma 3 (Gemma Team 2025), text part: as Gemma 2 without the caps, with RMS norm of Q and K per
// head; five layers with a window and a RoPE base of their own, then one that sees everything.
#include "engine/arch/gemma3.h"

#include <cmath>

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_gemma3(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "gemma3"));
  const HparamReader reader(file, "gemma3");
  spec.norms_add_one = true;
  spec.post_norm = true;
  spec.qk_norm = model::QkNorm::kHead;
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden));
  spec.activation = kernels::Activation::kGeluTanh;
  LS_CHECK(read_soft_caps(file, spec));
  constexpr int kPeriod = 6;
  LS_CHECK(read_window(file, spec, [](int layer) { return (layer + 1) % kPeriod != 0; }));
  LS_TRY(spec.rope_base_windowed, reader.float_or("rope.freq_base_swa", 1.0, 1e12, 10000.0));
  // The 27B model alone divides by the square root of hidden / heads; only its layers tell.
  constexpr int kLayersOf27B = 62;
  if (spec.n_layers == kLayersOf27B && file.find("gemma3.attention.scale") == nullptr) {
    spec.attention_scale =
        1.0F / std::sqrt(static_cast<float>(spec.hidden) / static_cast<float>(spec.n_heads));
  }
  return spec;
}

}  // namespace layerscope::arch

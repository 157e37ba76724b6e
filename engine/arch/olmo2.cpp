// OLMo 2 (OLMo Team 2024): no norm before the blocks but one after each, RMS norm of Q and K over
// all heads together, RoPE on half-split pairs.
#include "engine/arch/olmo2.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_olmo2(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "olmo2"));
  spec.pre_norm = false;
  spec.post_norm = true;
  spec.qk_norm = model::QkNorm::kWhole;
  constexpr int kPeriod = 4;  // OLMo 3 shares the name: three windowed layers, then one without
  LS_CHECK(read_window(file, spec, [](int layer) { return (layer + 1) % kPeriod != 0; }));
  return spec;
}

}  // namespace layerscope::arch

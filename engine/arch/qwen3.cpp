// Qwen3 (Yang et al. 2025): RoPE on half-split pairs, RMS norm of Q and K per head, no biases; the
// heads together may be wider than the stream.
#include "engine/arch/qwen3.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_qwen3(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "qwen3"));
  spec.qk_norm = model::QkNorm::kHead;
  return spec;
}

}  // namespace layerscope::arch

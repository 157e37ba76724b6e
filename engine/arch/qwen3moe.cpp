// Qwen3 with experts (Yang et al. 2025): Qwen3's attention; every layer routes each token to a few
// of many small experts, whose weights are divided by their sum.
#include "engine/arch/qwen3moe.h"

#include "engine/arch/hparams.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_qwen3moe(const format::ModelFile& file) {
  LS_TRY(model::DecoderSpec spec, read_common_spec(file, "qwen3moe"));
  spec.qk_norm = model::QkNorm::kHead;
  LS_CHECK(read_experts(file, spec));
  if (spec.n_experts == 0) {
    return invalid_input(file.path + ": the hyper-parameter 'qwen3moe.expert_count' is missing");
  }
  return spec;
}

}  // namespace layerscope::arch

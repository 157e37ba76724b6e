// The tensors of a Hugging Face folder under GGUF's names; used by hf_folder.cpp only.
#pragma once

#include "engine/arch/hf_names.h"
#include "engine/base/result.h"
#include "engine/format/model_file.h"

namespace layerscope::arch {

struct HfSizes {
  std::uint64_t heads = 0;
  std::uint64_t kv_heads = 0;
};

/// Fills `to.tensors` (and `to.made`) from `from.tensors`. Tensors that no row names keep theirs.
Status translate_tensors(const format::ModelFile& from, const HfArchitecture& architecture,
                         const HfSizes& sizes, bool tied, format::ModelFile& to);

}  // namespace layerscope::arch

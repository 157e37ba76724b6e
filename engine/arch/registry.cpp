#include "engine/arch/registry.h"

#include <fmt/format.h>

#include "engine/arch/command_r.h"
#include "engine/arch/falcon.h"
#include "engine/arch/gemma.h"
#include "engine/arch/gemma2.h"
#include "engine/arch/gemma3.h"
#include "engine/arch/gpt2.h"
#include "engine/arch/gptneox.h"
#include "engine/arch/hf_folder.h"
#include "engine/arch/llama.h"
#include "engine/arch/olmo2.h"
#include "engine/arch/phi2.h"
#include "engine/arch/phi3.h"
#include "engine/arch/qwen2.h"
#include "engine/arch/qwen3.h"
#include "engine/arch/qwen3moe.h"
#include "engine/arch/smollm3.h"
#include "engine/arch/stablelm.h"
#include "engine/arch/starcoder2.h"

namespace layerscope::arch {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> list{
      {"llama", read_llama},
      {"qwen2", read_qwen2},
      {"qwen3", read_qwen3},
      {"qwen3moe", read_qwen3moe},
      {"gemma", read_gemma},
      {"gemma2", read_gemma2},
      {"gemma3", read_gemma3},
      {"phi2", read_phi2},
      {"phi3", read_phi3},
      {"gpt2", read_gpt2},
      {"gptneox", read_gptneox},
      {"olmo2", read_olmo2},
      {"starcoder2", read_starcoder2},
      {"stablelm", read_stablelm},
      {"falcon", read_falcon},
      {"command-r", read_command_r},
      {"smollm3", read_smollm3},
  };
  return list;
}

Result<model::DecoderSpec> read_spec(const format::ModelFile& file) {
  LS_TRY(const auto name, file.get_string("general.architecture"));
  if (!name) {
    return invalid_input(fmt::format("{}: the key 'general.architecture' is missing", file.path));
  }
  std::string known;
  for (const Architecture& architecture : architectures()) {
    if (*name == architecture.name) {
      LS_TRY(model::DecoderSpec spec, architecture.read_spec(file));
      apply_storage(file, spec);
      return spec;
    }
    known += known.empty() ? architecture.name : fmt::format(", {}", architecture.name);
  }
  return invalid_input(fmt::format("{}: architecture '{}' cannot be run yet (supported: {})",
                                   file.path, *name, known));
}

}  // namespace layerscope::arch

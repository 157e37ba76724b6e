#include "engine/arch/registry.h"

#include <fmt/format.h>

#include "engine/arch/hf_folder.h"
#include "engine/arch/llama.h"
#include "engine/arch/qwen2.h"

namespace layerscope::arch {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> list{
      {"llama", read_llama},
      {"qwen2", read_qwen2},
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

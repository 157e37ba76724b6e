// Models that consist of several files: a Hugging Face folder, and GGUF in parts.
//
// Every file is mapped and checked by its own reader; what is checked here is that they fit
// together. Errors (kInvalidInput) are one sentence that names the file and what to do.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/base/result.h"
#include "engine/format/gguf.h"
#include "engine/format/model_file.h"

namespace layerscope::format {

/// The folder when `path` is a model folder (one with a config.json) or one of its files; else
/// nothing.
std::optional<std::string> model_folder_of(const std::string& path);

/// Reads config.json and generation_config.json into metadata `config.*`, `generation_config.*`
/// (nested keys joined by dots, null left out), and the tensors of model.safetensors, of the shards
/// of model.safetensors.index.json, or of the only safetensors file there, under their own names.
Result<std::shared_ptr<ModelFile>> read_model_folder(const std::string& folder);

/// A safetensors file by itself: tensors, and `__metadata__` as metadata.
Result<std::shared_ptr<ModelFile>> read_safetensors_file(MappedFile mapping,
                                                         const std::string& path);

/// Completes a GGUF that says it is one part of several (`split.count` > 1) with the other parts,
/// which stand beside it as `…-0000I-of-0000N.gguf`. The result has the first part's metadata. A
/// file that is whole comes back as it is.
Result<std::shared_ptr<ModelFile>> join_gguf_parts(std::shared_ptr<ModelFile> part,
                                                   const GgufOptions& options);

}  // namespace layerscope::format

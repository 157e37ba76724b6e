// Opens a path as a container that one of our readers takes.
#pragma once

#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/format/gguf.h"
#include "engine/format/model_file.h"

namespace layerscope::format {

/// read_model_file with options for GGUF; the caller may still change the result. Errors
/// (kInvalidInput): not readable, or another kind of file; the sentence says which, and what can be
/// opened instead.
Result<std::shared_ptr<ModelFile>> open_model(const std::string& path, const GgufOptions& options);

}  // namespace layerscope::format

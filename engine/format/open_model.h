// Opens a path as a container that one of our readers takes.
#pragma once

#include <string>

#include "engine/base/mapped_file.h"
#include "engine/base/result.h"

namespace layerscope::format {

/// Maps `path` when it starts like a GGUF file. Errors (kInvalidInput): not readable, a folder, or
/// another kind of file; the sentence says which, and what can be opened instead.
Result<MappedFile> open_model_file(const std::string& path);

}  // namespace layerscope::format

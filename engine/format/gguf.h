// GGUF reader: versions 2 and 3, little-endian (specification: "GGUF" in the ggml project's docs).
//
// A file is hostile until proven otherwise: every count, length, offset and product is checked
// against the file's size before it is used or anything is allocated for it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/format/model_file.h"

namespace layerscope::format {

struct GgufOptions {
  /// Check arrays but do not keep their values (the file dialog's preview).
  bool skip_arrays = false;
};

/// True when `bytes` start like a GGUF file of either byte order.
bool looks_like_gguf(std::span<const std::byte> bytes);

/// Parses `bytes`, which must outlive the result: tensor data are views into them. `file_name` is
/// used in errors. Errors (kInvalidInput): anything that is not a whole, consistent GGUF file.
Result<std::shared_ptr<ModelFile>> parse_gguf(std::span<const std::byte> bytes,
                                              const std::string& file_name,
                                              const GgufOptions& options = {});

/// Parses a mapped file; the result owns the mapping. Errors: as above.
Result<std::shared_ptr<ModelFile>> read_gguf(MappedFile mapping, const std::string& path,
                                             const GgufOptions& options = {});

}  // namespace layerscope::format

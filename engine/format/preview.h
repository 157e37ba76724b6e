// What the file dialog shows about a model before it is loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"

namespace layerscope::format {

struct FilePreview {
  std::string container;     ///< "GGUF v3"
  std::string architecture;  ///< "qwen2"; empty when the file does not say
  std::string name;          ///< `general.name`; empty when absent
  std::string quantisation;  ///< Type that holds most parameters: "F16", "Q4_K mixed"; or empty
  std::uint64_t n_parameters = 0;
  std::uint64_t n_tensors = 0;
  std::uint64_t file_bytes = 0;
  std::int64_t context_length = 0;  ///< 0 when the file does not say
  std::int64_t n_layers = 0;        ///< 0 when the file does not say
  /// Names of the tensor types that kernels cannot compute with; empty for a model that can be run.
  std::vector<std::string> undecodable;
};

/// Reads only the header (arrays are checked, not kept). Errors: those of read_model_file.
Result<FilePreview> preview_model(const std::string& path);

}  // namespace layerscope::format

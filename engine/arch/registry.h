// The architectures that can be run: one file each, one line in registry.cpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/model/decoder_spec.h"

namespace layerscope::arch {

struct Architecture {
  const char* name;  ///< general.architecture
  Result<model::DecoderSpec> (*read_spec)(const format::ModelFile&);
};

const std::vector<Architecture>& architectures();

/// Reads the spec of any supported file. Errors (kInvalidInput): no or unknown architecture (the
/// supported ones are listed), missing or absurd hyper-parameters, features that are not supported.
Result<model::DecoderSpec> read_spec(const format::ModelFile& file);

}  // namespace layerscope::arch

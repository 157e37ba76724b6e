#pragma once

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/model/decoder_spec.h"

namespace layerscope::arch {

Result<model::DecoderSpec> read_phi2(const format::ModelFile& file);

}  // namespace layerscope::arch

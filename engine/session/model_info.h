// From a loaded model to what the window and the command line show about it.
#pragma once

#include <memory>
#include <string>

#include "engine/model/model.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

std::shared_ptr<const ModelInfo> make_model_info(const model::Model& model);

/// What a file tells that cannot be run (an unknown architecture, say): header and tensors, no
/// tokenizer, no faults. Errors: those of read_model_file.
Result<std::shared_ptr<const ModelInfo>> list_model_file(const std::string& path);

}  // namespace layerscope::session

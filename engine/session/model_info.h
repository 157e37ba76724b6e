// From a loaded model to what the window and the command line show about it.
#pragma once

#include <memory>

#include "engine/model/model.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

std::shared_ptr<const ModelInfo> make_model_info(const model::Model& model);

}  // namespace layerscope::session

// What the CUDA backend runs of what a spec can ask for. Compiled with and without CUDA.
#pragma once

#include <string>

#include "engine/model/model.h"

namespace layerscope::backend {

/// What the CUDA backend cannot run of this decoder, as words for a sentence ("layer norm,
/// experts"); empty: it runs all of it. A feature added there is a line less here.
std::string cuda_does_not_run(const model::Model& model);

}  // namespace layerscope::backend

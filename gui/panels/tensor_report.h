// What a worker says about a tensor of its file: a remote session has no bytes to look at.
#pragma once

#include "engine/format/model_file.h"
#include "gui/panels/ui.h"

namespace layerscope::gui {

/// Asks for the statistics of `tensor` and shows them once they are there. UI thread.
void tensor_report(Ui& ui, const format::TensorInfo& tensor);

}  // namespace layerscope::gui

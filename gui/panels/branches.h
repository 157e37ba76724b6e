// Branches: the lines of tokens that were left, as a small tree to go back to. UI thread.
#pragma once

#include "gui/panels/ui.h"

namespace layerscope::gui {

/// Height that the section takes; 0 without branches.
float branches_height(const Ui& ui);
/// Draws it into the current window.
void draw_branches(Ui& ui, float height);

}  // namespace layerscope::gui

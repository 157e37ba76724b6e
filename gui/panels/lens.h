// Logit lens section of the right panel: what every layer would answer at the shown token. UI
// thread.
#pragma once

#include "gui/panels/ui.h"

namespace layerscope::gui {

/// Draws the section's title, and below it the list into the remaining region where it is open.
void draw_lens(Ui& ui);

}  // namespace layerscope::gui

// Welcome: what the centre shows while no model is open. UI thread.
#pragma once

#include "gui/panels/ui.h"

namespace layerscope::gui {

/// Draws into the remaining region; registers "attention/empty".
void draw_welcome(Ui& ui);

}  // namespace layerscope::gui

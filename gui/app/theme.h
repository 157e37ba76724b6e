// Theme: Dear ImGui's style for the whole window — spacing, rounding, type size, and the colours of
// gui/panels/colors.h given to Dear ImGui's own widgets. One accent colour; the rest is quiet.
#pragma once

#include <imgui.h>

namespace layerscope::gui {

/// Unscaled size of body text in pixels.
inline constexpr float kTextSize = 14.0F;

/// Sets Dear ImGui's style for a theme and a scale (DPI × the user's text size).
void apply_theme(bool dark, float scale);

/// BeginPopupModal in the look of the program's dialogs; `EndPopup` follows when it returns true.
bool begin_dialog(const char* title, bool* open, float scale, ImGuiWindowFlags flags);

}  // namespace layerscope::gui

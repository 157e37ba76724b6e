// Colours: every colour of the panels by its role, for the dark and the light theme.
#pragma once

#include <imgui.h>

#include <array>

namespace layerscope::gui {

struct Palette {
  ImU32 text;         ///< what one reads first
  ImU32 quiet;        ///< labels, units, hints
  ImU32 faint;        ///< disabled, separators with meaning
  ImU32 accent;       ///< selection, the main action, the chosen token
  ImU32 accent_fill;  ///< accent as a background under `accent_text`
  ImU32 accent_text;
  ImU32 warn;
  ImU32 error;
  ImU32 good;
  ImU32 panel;  ///< background of a region
  ImU32 card;   ///< raised: chips, cards, buttons
  ImU32 hover;  ///< a card under the mouse
  ImU32 border;
  ImU32 plot;   ///< background of plots, maps and editors
  ImU32 grid;   ///< lines inside a plot
  ImU32 track;  ///< empty part of a bar
};

inline constexpr Palette kDarkPalette{
    .text = IM_COL32(222, 226, 232, 255),
    .quiet = IM_COL32(146, 153, 165, 255),
    .faint = IM_COL32(92, 99, 111, 255),
    .accent = IM_COL32(92, 196, 255, 255),
    .accent_fill = IM_COL32(28, 92, 132, 255),
    .accent_text = IM_COL32(232, 246, 255, 255),
    .warn = IM_COL32(255, 180, 84, 255),
    .error = IM_COL32(255, 110, 110, 255),
    .good = IM_COL32(105, 219, 140, 255),
    .panel = IM_COL32(25, 28, 34, 255),
    .card = IM_COL32(35, 39, 47, 255),
    .hover = IM_COL32(47, 53, 63, 255),
    .border = IM_COL32(52, 58, 68, 255),
    .plot = IM_COL32(18, 20, 24, 255),
    .grid = IM_COL32(44, 49, 58, 255),
    .track = IM_COL32(31, 35, 42, 255),
};

inline constexpr Palette kLightPalette{
    .text = IM_COL32(28, 32, 38, 255),
    .quiet = IM_COL32(92, 100, 112, 255),
    .faint = IM_COL32(160, 167, 178, 255),
    .accent = IM_COL32(8, 108, 176, 255),
    .accent_fill = IM_COL32(20, 120, 190, 255),
    .accent_text = IM_COL32(255, 255, 255, 255),
    .warn = IM_COL32(166, 92, 0, 255),
    .error = IM_COL32(196, 38, 38, 255),
    .good = IM_COL32(22, 128, 60, 255),
    .panel = IM_COL32(247, 248, 250, 255),
    .card = IM_COL32(234, 237, 241, 255),
    .hover = IM_COL32(222, 227, 233, 255),
    .border = IM_COL32(207, 213, 221, 255),
    .plot = IM_COL32(255, 255, 255, 255),
    .grid = IM_COL32(228, 232, 237, 255),
    .track = IM_COL32(226, 230, 236, 255),
};

/// Marks drawn over coloured maps, which look the same in both themes.
inline constexpr ImU32 kMapAccent = IM_COL32(92, 196, 255, 255);
inline constexpr ImU32 kMapInk = IM_COL32(255, 255, 255, 255);

inline const Palette& palette(bool dark) { return dark ? kDarkPalette : kLightPalette; }

/// `a` moved towards `b` by `t` (0 … 1); opaque.
inline ImU32 mix(ImU32 a, ImU32 b, float t) {
  const ImVec4 x = ImGui::ColorConvertU32ToFloat4(a);
  const ImVec4 y = ImGui::ColorConvertU32ToFloat4(b);
  return ImGui::ColorConvertFloat4ToU32(
      {x.x + (y.x - x.x) * t, x.y + (y.y - x.y) * t, x.z + (y.z - x.z) * t, 1.0F});
}

inline ImU32 to_color(const std::array<float, 3>& rgb) {
  return ImGui::ColorConvertFloat4ToU32({rgb[0], rgb[1], rgb[2], 1.0F});
}

}  // namespace layerscope::gui

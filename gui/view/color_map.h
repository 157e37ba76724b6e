// The colour maps, and their colours on the CPU: for chips, shaded text and legends. Heatmaps are
// coloured on the GPU, from the same stops.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

inline constexpr std::size_t kColorStops = 9;

/// 0xRRGGBB at equal distances from 0 to 1; between them a map is linear in sRGB. White for kShade,
/// whose opacity tells the value.
const std::array<std::uint32_t, kColorStops>& color_map_stops(ColorMap map);

/// sRGB, 0 … 1 each. `t` is clamped to 0 … 1; NaN gives the first colour.
std::array<float, 3> sample_color_map(ColorMap map, float t);

const char* color_map_name(ColorMap map);

}  // namespace layerscope::gui::view

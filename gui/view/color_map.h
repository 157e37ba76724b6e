// Colour maps on the CPU: for chips, shaded text and legends. Heatmaps are coloured on the GPU.
#pragma once

#include <array>

#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

/// sRGB, 0 … 1 each. `t` is clamped to 0 … 1; NaN gives the first colour.
std::array<float, 3> sample_color_map(ColorMap map, float t);

const char* color_map_name(ColorMap map);

}  // namespace layerscope::gui::view

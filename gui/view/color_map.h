// The colour maps, and their colours on the CPU: for chips, shaded text and legends. Heatmaps are
// coloured on the GPU, from the same stops.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

inline constexpr std::size_t kColorStops = 9;
/// 0xRRGGBB at equal distances from 0 to 1; between them a map is linear in sRGB.
using ColorStops = std::array<std::uint32_t, kColorStops>;

/// In the order of ColorMap. Every eighth colour of the published maps (viridis, magma: matplotlib;
/// cividis: Nuñez, Anderton, Renslow 2018); blue–white–red is ours; kShade is white, its opacity
/// tells the value.
inline constexpr std::array<ColorStops, 5> kColorMapStops{{
    {0x440154, 0x472D7B, 0x3B528B, 0x2C728E, 0x21918C, 0x28AE80, 0x5EC962, 0xADDC30, 0xFDE725},
    {0x00224E, 0x123570, 0x3B496C, 0x575D6D, 0x707173, 0x8A8678, 0xA59C74, 0xC3B369, 0xFEE838},
    {0x000004, 0x1C1044, 0x4F127B, 0x812581, 0xB5367A, 0xE55064, 0xFB8761, 0xFEC287, 0xFCFDBF},
    {0x2166AC, 0x4E90C4, 0x8CBEDC, 0xC9E1EF, 0xF7F7F7, 0xFBD5C0, 0xEF9E80, 0xD5604F, 0xB2182B},
    {0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF},
}};

/// Of kChosen: the first.
constexpr const ColorStops& color_map_stops(ColorMap map) {
  const auto at = static_cast<std::size_t>(map);
  return kColorMapStops[at < kColorMapStops.size() ? at : 0];
}

/// sRGB, 0 … 1 each. `t` is clamped to 0 … 1; NaN gives the first colour.
std::array<float, 3> sample_color_map(ColorMap map, float t);

const char* color_map_name(ColorMap map);

}  // namespace layerscope::gui::view

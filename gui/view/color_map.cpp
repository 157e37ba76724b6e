#include "gui/view/color_map.h"

#include <algorithm>

namespace layerscope::gui::view {
namespace {

using Stops = std::array<std::uint32_t, kColorStops>;

// In the order of ColorMap. Every eighth colour of the published maps (viridis, magma: matplotlib;
// cividis: Nuñez, Anderton, Renslow 2018); blue–white–red is ours.
constexpr std::array<Stops, 5> kMaps{{
    {0x440154, 0x472D7B, 0x3B528B, 0x2C728E, 0x21918C, 0x28AE80, 0x5EC962, 0xADDC30, 0xFDE725},
    {0x00224E, 0x123570, 0x3B496C, 0x575D6D, 0x707173, 0x8A8678, 0xA59C74, 0xC3B369, 0xFEE838},
    {0x000004, 0x1C1044, 0x4F127B, 0x812581, 0xB5367A, 0xE55064, 0xFB8761, 0xFEC287, 0xFCFDBF},
    {0x2166AC, 0x4E90C4, 0x8CBEDC, 0xC9E1EF, 0xF7F7F7, 0xFBD5C0, 0xEF9E80, 0xD5604F, 0xB2182B},
    {0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF, 0xFFFFFF},
}};

float channel(std::uint32_t color, unsigned shift) {
  return static_cast<float>((color >> shift) & 0xFFU) / 255.0F;
}

}  // namespace

const std::array<std::uint32_t, kColorStops>& color_map_stops(ColorMap map) {
  const auto at = static_cast<std::size_t>(map);
  return kMaps[at < kMaps.size() ? at : 0];
}

std::array<float, 3> sample_color_map(ColorMap map, float t) {
  const Stops& stops = color_map_stops(map);
  const float clamped = t > 0.0F ? std::min(t, 1.0F) : 0.0F;
  const float place = clamped * static_cast<float>(kColorStops - 1);
  const std::size_t first = std::min(static_cast<std::size_t>(place), kColorStops - 2);
  const float part = place - static_cast<float>(first);
  std::array<float, 3> rgb{};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto shift = static_cast<unsigned>(16 - 8 * i);
    const float a = channel(stops[first], shift);
    rgb[i] = a + (channel(stops[first + 1], shift) - a) * part;
  }
  return rgb;
}

const char* color_map_name(ColorMap map) {
  switch (map) {
    case ColorMap::kViridis:
      return "viridis";
    case ColorMap::kCividis:
      return "cividis";
    case ColorMap::kMagma:
      return "magma";
    case ColorMap::kDiverging:
      return "blue–white–red";
    case ColorMap::kShade:
      return "opacity";
    case ColorMap::kChosen:
      return "as chosen";
  }
  return "";
}

}  // namespace layerscope::gui::view

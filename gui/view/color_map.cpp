#include "gui/view/color_map.h"

#include <algorithm>

namespace layerscope::gui::view {
namespace {

float channel(std::uint32_t color, unsigned shift) {
  return static_cast<float>((color >> shift) & 0xFFU) / 255.0F;
}

}  // namespace

std::array<float, 3> sample_color_map(ColorMap map, float t) {
  const ColorStops& stops = color_map_stops(map);
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

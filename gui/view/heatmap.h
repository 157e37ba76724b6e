// Heatmap: values to be coloured on the GPU, as pure data.
//
// A panel builds a HeatmapData (pure functions in gui/view), the renderer in gui/vulkan uploads the
// values when `version` changed and colours them in a compute shader. The panel gets back a
// texture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

namespace layerscope::gui {

/// kShade is white of an opacity that grows with the root of the value (at most 0.62): to be
/// tinted. kChosen is the one of the settings (gui/panels: heatmap_texture knows it; elsewhere
/// viridis).
enum class ColorMap : std::uint8_t { kViridis, kCividis, kMagma, kDiverging, kShade, kChosen };

/// What is shown instead of the value: one kind stands out, everything else turns grey.
enum class Overlay : std::uint8_t { kNone, kNonFinite, kZero, kSign };

/// Values that are in the device's memory already: `offset` floats into the buffer of a slot that
/// the renderer knows; the slot's content has number `value`.
struct DeviceValues {
  int slot = -1;
  std::size_t offset = 0;
  std::uint64_t value = 0;
  bool operator==(const DeviceValues&) const = default;
};

/// Row-major values [height][width]. NaN, ±Inf and exact zero get their own colours when `flag` is
/// set; cells equal to `kHole` are drawn in the background colour (above the diagonal, no data).
struct HeatmapData {
  int width = 0;
  int height = 0;
  std::span<const float> values;
  DeviceValues device;        ///< instead of `values`, where its slot is not −1
  std::uint64_t version = 0;  ///< Same key and version: values are not uploaded again.
  float lo = 0.0F;
  float hi = 1.0F;
  bool log_scale = false;
  bool flag = true;
  ColorMap color_map = ColorMap::kChosen;
  Overlay overlay = Overlay::kNone;

  static constexpr float kHole = -std::numeric_limits<float>::max();
};

struct ChartData;  // chart.h

/// Opaque texture handle (an ImTextureID in practice); 0 means nothing to draw.
using TextureHandle = std::uint64_t;

class HeatmapRenderer {
 public:
  virtual ~HeatmapRenderer() = default;
  /// The texture for `key`, one texel per value. Textures whose key was not asked for during a few
  /// frames are freed. Call on the UI thread between the start and the end of a frame.
  virtual TextureHandle texture(std::string_view key, const HeatmapData& data) = 0;
  /// Likewise for lines and bars, one texel per pixel.
  virtual TextureHandle chart(std::string_view key, const ChartData& data) = 0;
  /// "staging · software Vulkan (llvmpipe)": which path is active.
  [[nodiscard]] virtual std::string_view path_text() const = 0;
  /// Why that path.
  [[nodiscard]] virtual std::string_view path_reason() const = 0;
};

}  // namespace layerscope::gui

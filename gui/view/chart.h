// Chart: lines over an axis and bars, to be drawn on the GPU (assets/shaders/chart.comp). Plain
// data; the values may be in the device's memory already.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "gui/view/heatmap.h"

namespace layerscope::gui {

inline constexpr int kMostChartLines = 4;

/// Rows of cells as the engine draws them, or as the host has them.
struct ChartSource {
  std::span<const float> values;  ///< [rows][cells]
  DeviceValues device;            ///< instead, where its slot is not −1
  std::uint64_t version = 0;      ///< changes with the values
  int lines = 0, cells = 0;
  bool ranges = false;  ///< a line has two rows: smallest and largest value of each cell
  bool pooled = false;  ///< cells hold several values each
};

struct ChartData {
  enum class Kind : std::uint8_t {
    /// Opaque lines on nothing. Cells equal to HeatmapData::kHole are gaps; so are NaN and ±Inf
    /// unless they are marked.
    kLines,
    /// One row of texels per cell of the first row, filled up to its value (0 … 1) with colour 2
    /// where the second row has 1, else with colour 1, over colour 0. No texel where it is a hole.
    kBars,
  };
  Kind kind = Kind::kLines;
  int width = 0, height = 0;  ///< texels
  ChartSource source;
  float lo = 0.0F, hi = 1.0F;  ///< of the axis; logarithms to base 10 where `log_scale`
  bool log_scale = false;      ///< values ≤ 0 are gaps
  bool marks = false;          ///< cells that are NaN or ±Inf get a column in their colour
  float thickness = 1.5F;      ///< of lines; bars: the least length of one that is not 0; texels
  std::array<std::uint32_t, kMostChartLines> colors{};  ///< 0xAABBGGRR
};

/// Texels around a chart's lines that belong to its image, so that no stroke is cut.
constexpr int chart_margin(float thickness) { return static_cast<int>(thickness) + 2; }

namespace view {

/// `rows` rows of values as they are.
ChartSource chart_values(std::span<const float> values, int rows);
/// Cells of host values: every value a cell while there are few, else the smallest and largest
/// finite one of each (backend::series_cells); the source points into `rows`.
ChartSource chart_rows(std::span<const std::vector<float>* const> lines, std::vector<float>& rows);

}  // namespace view
}  // namespace layerscope::gui

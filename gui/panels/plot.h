// Line plot: a few series over one axis, with gaps, range in numbers, and values on hover; the
// strokes are drawn on the GPU. UI thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gui/panels/ui.h"
#include "gui/view/chart.h"

namespace layerscope::gui {

struct PlotLine {
  std::string_view name;
  /// HeatmapData::kHole is a gap; so are NaN and ±Inf, unless Plot::marks is set.
  const std::vector<float>* values;
  ImU32 color;
};

struct Plot {
  std::string_view id;  ///< registered; must be unique in the window
  ImVec2 size;
  std::string_view x_name;                 ///< "step", "layer"
  std::string_view unit;                   ///< of the values, "bit"; may be empty
  bool from_zero = false;                  ///< the axis begins at 0
  bool log_y = false;                      ///< values ≤ 0 become gaps
  int marked = -1;                         ///< index with a line in accent, −1 none
  bool marks = false;                      ///< NaN and ±Inf are shown as what they are
  std::function<std::string(int)> x_text;  ///< extra words for the tooltip
  /// The first lines as the engine drew them: the strokes come from there, `values` only give the
  /// numbers on hover. No lines: the strokes come from the values.
  ChartSource drawn;
  /// Range of all values where it is known; else they are searched.
  float lo = 1.0F, hi = 0.0F;
};

/// Draws the plot as one item. Returns the index under the mouse, or −1.
int line_plot(Ui& ui, const Plot& plot, std::span<const PlotLine> lines);

/// Names of the lines with a short stroke in their colours, on one line.
void plot_legend(const Ui& ui, std::span<const PlotLine> lines);

}  // namespace layerscope::gui

// Line plot: a few series over one axis, with gaps, range in numbers, and values on hover. UI
// thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gui/panels/ui.h"

namespace layerscope::gui {

struct PlotLine {
  std::string_view name;
  const std::vector<float>* values;  ///< NaN and ±Inf are gaps
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
  std::function<std::string(int)> x_text;  ///< extra words for the tooltip
};

/// Draws the plot as one item. Returns the index under the mouse, or −1.
int line_plot(Ui& ui, const Plot& plot, std::span<const PlotLine> lines);

/// Names of the lines with a short stroke in their colours, on one line.
void plot_legend(const Ui& ui, std::span<const PlotLine> lines);

}  // namespace layerscope::gui

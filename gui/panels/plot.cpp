#include "gui/panels/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "gui/panels/widgets.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

struct Axis {
  float lo = 0.0F, hi = 1.0F;  ///< of the transformed values
  bool log = false;
  bool any = false;

  [[nodiscard]] float transform(float v) const {
    if (v == HeatmapData::kHole || (log && v <= 0.0F)) {
      return std::nanf("");
    }
    return log ? std::log10(v) : v;
  }
};

Axis find_axis(std::span<const PlotLine> lines, const Plot& plot) {
  Axis axis;
  axis.log = plot.log_y;
  const auto take = [&axis](float raw) {
    const float v = axis.transform(raw);
    if (std::isfinite(v)) {
      axis.lo = axis.any ? std::min(axis.lo, v) : v;
      axis.hi = axis.any ? std::max(axis.hi, v) : v;
      axis.any = true;
    }
  };
  if (plot.lo <= plot.hi) {
    take(plot.lo);
    take(plot.hi);
  } else {
    for (const PlotLine& line : lines) {
      std::for_each(line.values->begin(), line.values->end(), take);
    }
  }
  if (plot.from_zero) {
    axis.lo = std::min(axis.lo, 0.0F);
  }
  if (!(axis.hi > axis.lo)) {
    const float margin = std::max(std::fabs(axis.lo) * 0.05F, 0.5F);
    axis.lo -= margin;
    axis.hi += margin;
  }
  return axis;
}

struct Frame {
  ImVec2 min, max;
  int n = 0;
  Axis axis;

  [[nodiscard]] float x(float index) const {
    return n < 2 ? (min.x + max.x) / 2.0F
                 : min.x + (max.x - min.x) * index / static_cast<float>(n - 1);
  }
  [[nodiscard]] float y(float transformed) const {
    const float t = (transformed - axis.lo) / (axis.hi - axis.lo);
    return max.y - (max.y - min.y) * t;
  }
};

/// The strokes of up to kMostChartLines lines, as an image over the plot.
void draw_strokes(Ui& ui, const Plot& plot, const Frame& frame, std::string_view part,
                  std::span<const PlotLine> lines, const ChartSource& source) {
  if (ui.heatmaps == nullptr || lines.empty()) {
    return;
  }
  ChartData chart;
  chart.source = source;
  chart.lo = frame.axis.lo;
  chart.hi = frame.axis.hi;
  chart.log_scale = frame.axis.log;
  chart.marks = plot.marks;
  chart.thickness = px(ui, 1.5F);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    chart.colors[i] = lines[i].color;
  }
  const int margin = chart_margin(chart.thickness);
  chart.width = static_cast<int>(frame.max.x - frame.min.x) + 2 * margin;
  chart.height = static_cast<int>(frame.max.y - frame.min.y) + 2 * margin;
  const TextureHandle texture = ui.heatmaps->chart(fmt::format("{}/{}", plot.id, part), chart);
  if (texture != 0) {
    const ImVec2 min{frame.min.x - static_cast<float>(margin),
                     frame.min.y - static_cast<float>(margin)};
    ImGui::GetWindowDrawList()->AddImage(
        ImTextureRef(static_cast<ImTextureID>(texture)), min,
        {min.x + static_cast<float>(chart.width), min.y + static_cast<float>(chart.height)});
  }
}

void draw_lines(Ui& ui, const Plot& plot, const Frame& frame, std::span<const PlotLine> lines) {
  const auto n_drawn = std::min(static_cast<std::size_t>(plot.drawn.lines), lines.size());
  draw_strokes(ui, plot, frame, "drawn", lines.first(n_drawn), plot.drawn);
  for (std::size_t first = n_drawn; first < lines.size(); first += kMostChartLines) {
    const auto some =
        lines.subspan(first, std::min<std::size_t>(kMostChartLines, lines.size() - first));
    std::vector<const std::vector<float>*> values;
    for (const PlotLine& line : some) {
      values.push_back(line.values);
    }
    std::vector<float> rows;
    draw_strokes(ui, plot, frame, fmt::format("values {}", first), some,
                 view::chart_rows(values, rows));
  }
}

void hover_values(Ui& ui, const Plot& plot, std::span<const PlotLine> lines, int index) {
  if (!ImGui::BeginTooltip()) {
    return;
  }
  const std::string words = plot.x_text ? plot.x_text(index) : std::string();
  text(colors(ui).quiet, fmt::format("{} {}  {}", plot.x_name, index, words));
  for (const PlotLine& line : lines) {
    if (static_cast<std::size_t>(index) < line.values->size()) {
      const float v = (*line.values)[static_cast<std::size_t>(index)];
      text(line.color, line.name);
      ImGui::SameLine(ImGui::GetFontSize() * 6.0F);
      mono(ui, colors(ui).text,
           v == HeatmapData::kHole || (std::isnan(v) && !plot.marks)
               ? "—"
               : fmt::format("{} {}", view::number_text(double{v}), plot.unit));
    }
  }
  ImGui::EndTooltip();
}

/// Everything but the tooltip; the index under the mouse, or −1.
int draw_plot(Ui& ui, const Plot& plot, std::span<const PlotLine> lines) {
  const Palette& c = colors(ui);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const ImVec2 max{min.x + plot.size.x, min.y + plot.size.y};
  ImGui::PushID(plot.id.data(), plot.id.data() + plot.id.size());
  ImGui::InvisibleButton("plot", {std::max(plot.size.x, 1.0F), std::max(plot.size.y, 1.0F)});
  ImGui::PopID();
  ui.widgets.mark(plot.id);
  const bool hovered = ImGui::IsItemHovered();
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddRectFilled(min, max, c.plot, px(ui, 3.0F));

  Frame frame;
  frame.axis = find_axis(lines, plot);
  for (const PlotLine& line : lines) {
    frame.n = std::max(frame.n, static_cast<int>(line.values->size()));
  }
  const float line_height = ImGui::GetTextLineHeight();
  const auto label = [&](float transformed) {
    const double value = double{transformed};
    return view::number_text(plot.log_y ? std::pow(10.0, value) : value);
  };
  if (!frame.axis.any) {
    draw->AddText({min.x + px(ui, 8.0F), min.y + px(ui, 6.0F)}, c.quiet, "no values yet");
    return -1;
  }
  const std::string top = label(frame.axis.hi);
  const std::string bottom = label(frame.axis.lo);
  const float axis_width =
      std::max(ImGui::CalcTextSize(top.c_str()).x, ImGui::CalcTextSize(bottom.c_str()).x);
  // Whole pixels: the strokes are an image.
  frame.min = {std::round(min.x + axis_width + px(ui, 12.0F)), std::round(min.y + px(ui, 7.0F))};
  frame.max = {std::max(std::round(max.x - px(ui, 7.0F)), frame.min.x + 1.0F),
               std::max(std::round(max.y - px(ui, 7.0F)), frame.min.y + 1.0F)};
  draw->PushClipRect(min, max, true);
  draw->AddText({min.x + px(ui, 5.0F), min.y + px(ui, 2.0F)}, c.quiet, top.c_str());
  draw->AddText({min.x + px(ui, 5.0F), max.y - line_height - px(ui, 2.0F)}, c.quiet,
                bottom.c_str());
  for (int i = 0; i <= 2; ++i) {
    const float y = frame.min.y + (frame.max.y - frame.min.y) * static_cast<float>(i) / 2.0F;
    draw->AddLine({frame.min.x, y}, {frame.max.x, y}, c.grid);
  }
  if (plot.marked >= 0 && plot.marked < frame.n) {
    const float x = frame.x(static_cast<float>(plot.marked));
    draw->AddLine({x, min.y}, {x, max.y}, mix(c.plot, c.accent, 0.6F), px(ui, 1.0F));
  }
  draw_lines(ui, plot, frame, lines);
  int index = -1;
  if (hovered && frame.n > 0) {
    const float span = std::max(frame.max.x - frame.min.x, 1.0F);
    const float t = (ImGui::GetIO().MousePos.x - frame.min.x) / span;
    index = std::clamp(static_cast<int>(std::lround(t * static_cast<float>(frame.n - 1))), 0,
                       frame.n - 1);
    const float x = frame.x(static_cast<float>(index));
    draw->AddLine({x, min.y}, {x, max.y}, c.faint);
    for (const PlotLine& line : lines) {
      if (static_cast<std::size_t>(index) < line.values->size()) {
        const float v = frame.axis.transform((*line.values)[static_cast<std::size_t>(index)]);
        if (std::isfinite(v)) {
          draw->AddCircleFilled({x, frame.y(v)}, px(ui, 3.0F), line.color);
        }
      }
    }
  }
  draw->PopClipRect();
  return index;
}

}  // namespace

int line_plot(Ui& ui, const Plot& plot, std::span<const PlotLine> lines) {
  int index = -1;
  {
    const FontScope small(ui.fonts.mono, 0.82F);
    index = draw_plot(ui, plot, lines);
  }
  if (index >= 0) {
    hover_values(ui, plot, lines, index);
  }
  return index;
}

void plot_legend(const Ui& ui, std::span<const PlotLine> lines) {
  const FontScope small(nullptr, 0.86F);
  const float stroke = px(ui, 12.0F);
  const float gap = px(ui, 5.0F);
  const float height = ImGui::GetTextLineHeight() + 2.0F * ImGui::GetStyle().FramePadding.y;
  const ImVec2 start = ImGui::GetCursorScreenPos();
  ImDrawList* draw = ImGui::GetWindowDrawList();
  float x = start.x;
  for (const PlotLine& line : lines) {
    const float middle = start.y + height / 2.0F;
    draw->AddLine({x, middle}, {x + stroke, middle}, line.color, px(ui, 2.0F));
    x += stroke + gap;
    const char* begin = line.name.data();
    const char* end = begin + line.name.size();
    draw->AddText({x, start.y + ImGui::GetStyle().FramePadding.y}, colors(ui).quiet, begin, end);
    x += ImGui::CalcTextSize(begin, end).x + px(ui, 12.0F);
  }
  ImGui::Dummy({x - start.x, height});
}

}  // namespace layerscope::gui

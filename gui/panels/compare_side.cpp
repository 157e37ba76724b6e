// Compare tab: the map of added error, and inherited against added by layer. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "gui/panels/actions.h"
#include "gui/panels/compare_parts.h"
#include "gui/panels/plot.h"
#include "gui/panels/widgets.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

void map(Ui& ui, const CompareDrawing& drawing, float height) {
  const Palette& c = colors(ui);
  const view::ErrorMap& map = drawing.map;
  const float axis = ImGui::CalcTextSize("000").x + px(ui, 6.0F);
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float width = std::max(ImGui::GetContentRegionAvail().x - axis, px(ui, 40.0F));
  const ImVec2 min{at.x + axis, at.y};
  // Cells of a readable size; a short run does not fill the width.
  const float cell = std::min(width / static_cast<float>(map.positions), px(ui, 26.0F));
  const ImVec2 max{min.x + cell * static_cast<float>(map.positions), at.y + height};
  ImGui::InvisibleButton("map", {width + axis, height});
  ui.widgets.mark_rect("compare/map", min, max);
  const bool hovered = ImGui::IsItemHovered();
  const bool clicked = ImGui::IsItemClicked();
  heatmap(ui, "compare/map", drawing.map.data(drawing.version), min, max);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const float row = height / static_cast<float>(map.layers);
  const int every =
      std::max(1, static_cast<int>(std::ceil(ImGui::GetTextLineHeight() / std::max(row, 1.0F))));
  for (int r = 0; r < map.layers; r += every) {
    draw->AddText(
        {at.x, min.y + row * (static_cast<float>(r) + 0.5F) - ImGui::GetTextLineHeight() / 2.0F},
        c.quiet, fmt::format("{}", map.layer_of[static_cast<std::size_t>(r)]).c_str());
  }
  const ImVec2 mouse = ImGui::GetIO().MousePos;
  if (!hovered || mouse.x < min.x || mouse.x >= max.x) {
    return;
  }
  const int column = std::clamp(static_cast<int>((mouse.x - min.x) / cell), 0, map.positions - 1);
  const int line = std::clamp(static_cast<int>((mouse.y - min.y) / row), 0, map.layers - 1);
  const float value =
      map.values[static_cast<std::size_t>(line) * static_cast<std::size_t>(map.positions) +
                 static_cast<std::size_t>(column)];
  const int layer = map.layer_of[static_cast<std::size_t>(line)];
  draw->AddRect(
      {min.x + cell * static_cast<float>(column), min.y + row * static_cast<float>(line)},
      {min.x + cell * static_cast<float>(column + 1), min.y + row * static_cast<float>(line + 1)},
      kMapAccent);
  if (ImGui::BeginTooltip()) {
    text(c.text, fmt::format("layer {} · {}", layer, token_label(ui, column)));
    fact(ui, "added error",
         value <= HeatmapData::kHole ? "not known" : fmt::format("{:.3e}", value));
    ImGui::EndTooltip();
  }
  if (clicked) {
    ui.selection.layer = layer;
    select_position(ui, column >= ui.snapshot->n_frames - 1 ? -1 : column);
  }
}

}  // namespace

void draw_compare_side(Ui& ui, const CompareDrawing& drawing) {
  const Palette& c = colors(ui);
  section_title(ui, "Added error — layers × tokens");
  if (drawing.map.layers == 0 || drawing.map.positions == 0) {
    ImGui::NewLine();
    ImGui::PushTextWrapPos();
    text(c.quiet, drawing.result == nullptr
                      ? "What each block adds to the error of the stream stands here."
                      : "The residual stream is not in both traces, so no block can be blamed.");
    ImGui::PopTextWrapPos();
    return;
  }
  if (drawing.map.hi <= 0.0F) {
    ImGui::NewLine();
    text(c.good, "No block adds any error: the residual streams are the same, bit for bit.");
    ui.widgets.mark("compare/no error");
    return;
  }
  subtitle(ui, fmt::format("relative, {:.1e} … {:.1e}", drawing.map.lo, drawing.map.hi));
  const float room = ImGui::GetContentRegionAvail().y;
  const float plot_height = std::clamp(room * 0.36F, px(ui, 56.0F), px(ui, 150.0F));
  const float titles = ImGui::GetFrameHeightWithSpacing() + px(ui, 6.0F);
  map(ui, drawing, std::max(room - plot_height - titles, px(ui, 40.0F)));
  section_title(ui, "By layer");
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  std::vector<PlotLine> lines{{"added", &drawing.lines.added, c.warn},
                              {"inherited", &drawing.lines.inherited, c.quiet}};
  if (drawing.lines.any_own) {
    lines.push_back({"own, given its own input", &drawing.lines.own, c.accent});
  }
  plot_legend(ui, lines);
  Plot plot;
  plot.id = "compare/blocks";
  plot.size = {ImGui::GetContentRegionAvail().x, ImGui::GetContentRegionAvail().y};
  plot.x_name = "layer";
  plot.log_y = true;
  plot.marked = ui.selection.layer;
  const int index = line_plot(ui, plot, lines);
  if (index >= 0 && ImGui::IsMouseClicked(ImGuiMouseButton_Left) &&
      static_cast<std::size_t>(index) < drawing.lines.layers.size()) {
    ui.selection.layer = drawing.lines.layers[static_cast<std::size_t>(index)];
  }
}

}  // namespace layerscope::gui

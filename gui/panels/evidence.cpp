#include "gui/panels/evidence.h"
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/diagnose/thresholds.h"
#include "gui/panels/diagnosis.h"
#include "gui/panels/widgets.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

std::string padded(float value) { return view::number_text(static_cast<double>(value)); }

void wrapped(ImU32 color, std::string_view value) {
  ImGui::PushTextWrapPos(0.0F);
  text(color, value);
  ImGui::PopTextWrapPos();
}

}  // namespace

/// Captured above expected, a cell per value; the cell that the finding is about is framed.
void EvidencePane::strip(Ui& ui) {
  const Palette& c = colors(ui);
  const FontScope font(ui.fonts.mono, 0.86F);
  const float labels = ImGui::CalcTextSize("captured ").x;
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const ImVec2 min{at.x + labels, at.y};
  const float width = std::max(ImGui::GetContentRegionAvail().x - labels, 1.0F);
  const float row = px(ui, 16.0F);
  const ImVec2 max{min.x + width, min.y + row * static_cast<float>(view_.rows)};
  HeatmapData data;
  data.width = static_cast<int>(view_.lines.size());
  data.height = view_.rows;
  data.values = view_.cells;
  data.version = version_;
  data.lo = view_.lo;
  data.hi = view_.hi;
  data.color_map = ColorMap::kDiverging;
  heatmap(ui, "findings/evidence", data, min, max);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const float text_y = (row - ImGui::GetTextLineHeight()) / 2.0F;
  draw->AddText({at.x, at.y + text_y}, c.quiet, "captured");
  if (view_.rows > 1) {
    draw->AddText({at.x, at.y + row + text_y}, c.quiet, "expected");
    draw->AddLine({min.x, min.y + row}, {max.x, min.y + row}, c.panel, px(ui, 1.0F));
  }
  const float pitch = width / static_cast<float>(std::max<std::size_t>(view_.lines.size(), 1));
  for (std::size_t i = 0; i < view_.lines.size(); ++i) {
    const float x = min.x + pitch * static_cast<float>(i);
    if (view_.lines[i].worst) {
      draw->AddRect({x, min.y - 1.0F}, {x + pitch, max.y + 1.0F}, c.accent, 0.0F, 0, px(ui, 2.0F));
    }
  }
  ImGui::InvisibleButton("strip", {std::max(labels + width, 1.0F), max.y - min.y});
  ui.widgets.mark("findings/evidence");
  const auto cell = static_cast<int>(std::floor((ImGui::GetIO().MousePos.x - min.x) / pitch));
  if (ImGui::IsItemHovered() && cell >= 0 && cell < static_cast<int>(view_.lines.size()) &&
      ImGui::BeginTooltip()) {
    const view::EvidenceView::Line& line = view_.lines[static_cast<std::size_t>(cell)];
    fact(ui, "index", fmt::format("{}", line.index));
    fact(ui, "captured", padded(line.captured));
    if (line.has_expected) {
      fact(ui, "expected", padded(line.expected));
    }
    ImGui::EndTooltip();
  }
  text(c.faint,
       fmt::format("{} … {} · blue below zero, red above", padded(view_.lo), padded(view_.hi)));
}

/// What the values say together: a look tells a scale, a shift and a permutation apart.
void EvidencePane::statistics(Ui& ui) const {
  const view::EvidenceStats stats = view::evidence_stats(view_);
  const auto line = [&ui](const char* name, const std::string& value) {
    ui.widgets.state(fmt::format("findings/stats/{}", name), value);
    fact(ui, name, value);
  };
  const auto num = [](double value) { return view::number_text(value); };
  if (stats.compared) {
    line("differ", fmt::format("{} of {} values", stats.off, stats.n));
    line("largest |Δ|", num(stats.max_abs));
    line("relative L2", num(stats.rel_l2));
    line("cosine", fmt::format("{:.4f}", stats.cosine));
    line("expected",
         fmt::format("{} ± {}", num(stats.expected_mean), num(stats.expected_deviation)));
  }
  line("captured", fmt::format("{} ± {}", num(stats.mean), num(stats.deviation)));
  line("range", fmt::format("{} … {}", num(stats.min), num(stats.max)));
  if (stats.non_finite > 0) {
    line("NaN or infinite", fmt::format("{} of {} values", stats.non_finite, stats.n));
  }
}

void EvidencePane::values(Ui& ui) const {
  const Palette& c = colors(ui);
  const bool compared = view_.rows > 1;
  constexpr ImGuiTableFlags kFlags = ImGuiTableFlags_RowBg | ImGuiTableFlags_SizingStretchSame;
  const FontScope font(ui.fonts.mono, 0.92F);
  if (!ImGui::BeginTable("values", compared ? 4 : 2, kFlags)) {
    return;
  }
  ImGui::TableSetupColumn("index");
  ImGui::TableSetupColumn("captured");
  if (compared) {
    ImGui::TableSetupColumn("expected");
    ImGui::TableSetupColumn("difference");
  }
  ImGui::TableHeadersRow();
  const auto number = [](ImU32 color, const std::string& value) {
    ImGui::TableNextColumn();
    const float width = ImGui::CalcTextSize(value.c_str()).x;
    const float room = std::min(ImGui::GetContentRegionAvail().x, ImGui::GetFontSize() * 6.0F);
    ImGui::SetCursorPosX(ImGui::GetCursorPosX() + std::max(0.0F, room - width));
    text(color, value);
  };
  for (const view::EvidenceView::Line& line : view_.lines) {
    ImGui::TableNextRow();
    if (line.worst) {
      ImGui::TableSetBgColor(ImGuiTableBgTarget_RowBg0, mix(c.panel, c.accent, 0.18F));
    }
    ImGui::TableNextColumn();
    text(line.worst ? c.text : c.quiet, fmt::format("{}{}", line.index, line.worst ? " ◂" : ""));
    number(line.off ? c.error : c.text, padded(line.captured));
    if (compared) {
      number(c.text, padded(line.expected));
      number(line.off ? c.error : c.faint, padded(line.captured - line.expected));
    }
  }
  ImGui::EndTable();
}

void EvidencePane::draw(Ui& ui, const diagnose::Finding* finding) {
  const Palette& c = colors(ui);
  if (finding == nullptr) {
    empty_state(ui, "findings/detail", "No finding selected",
                "Click a row: every panel goes to its place, and the values that speak for it "
                "stand here.");
    return;
  }
  const std::string key = finding->check + '\n' + finding->cause + '\n' + finding->tensor;
  if (key != shown_ || serial_ != ui.snapshot->findings_serial) {
    view_ = view::evidence_view(*finding);
    shown_ = key;
    serial_ = ui.snapshot->findings_serial;
    ++version_;
  }
  {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float radius = px(ui, 6.0F);
    draw_badge(ui, "", {at.x + radius, at.y + ImGui::GetTextLineHeight() / 2.0F}, radius,
               finding->severity);
    ImGui::SetCursorPosX(ImGui::GetCursorPosX() + radius * 2.0F + px(ui, 6.0F));
    const FontScope bold(ui.fonts.bold);
    text(c.text, view::cause_text(finding->cause));
  }
  const view::FindingRow row = view::finding_row(*finding);
  wrapped(c.quiet, fmt::format("value {} · expected {} · check \"{}\"", row.value, row.expected,
                               finding->check));
  if (!finding->tensor.empty() &&
      button(ui, "findings/open tensor", "Open " + finding->tensor, Look::kLink,
             "Look at this tensor's values in the Tensors tab")) {
    ui.selection.tensor = finding->tensor;
    ui.requests.show_tab = "tensors";
  }
  // The evidence comes first: words stand in the table too.
  if (view_.lines.empty()) {
    text(c.faint, "no single values belong to this finding");
  } else {
    mono(ui, c.quiet, view_.title);
    strip(ui);
    statistics(ui);
    values(ui);
  }
  mono(ui, c.quiet, row.where);
  wrapped(c.text, row.what);
  if (const auto source = diagnose::thresholds::source_of(finding->check); !source.empty()) {
    wrapped(c.faint, fmt::format("where the bound comes from: {}", source));
  }
  if (!row.advice.empty()) {
    wrapped(c.accent, "What to do: " + row.advice);
  }
  for (const std::string& related : row.related) {
    wrapped(c.quiet, "· " + related);
  }
}

}  // namespace layerscope::gui

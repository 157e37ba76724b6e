#include "gui/panels/branches.h"

#include <fmt/format.h>

#include <algorithm>

#include "gui/panels/actions.h"
#include "gui/panels/widgets.h"
#include "gui/view/text.h"
#include "gui/view/token_search.h"

namespace layerscope::gui {
namespace {

constexpr std::size_t kMostRows = 5;  ///< shown without scrolling

float row_height(const Ui& ui) { return ImGui::GetTextLineHeight() + px(ui, 6.0F); }

/// The branch's first own tokens as one line.
std::string tail_text(const Ui& ui, const session::BranchInfo& info) {
  std::string tail;
  for (const std::int32_t id : info.tail) {
    const view::ChipText chip = view::chip_text(tokenizer_of(ui), id);
    tail += (chip.gap_before ? " " : "") + chip.text;
  }
  return view::cut_text(tail, 40);
}

}  // namespace

float branches_height(const Ui& ui) {
  const std::size_t n = ui.snapshot->branches.size();
  return n == 0 ? 0.0F
                : ImGui::GetFrameHeightWithSpacing() +
                      row_height(ui) * static_cast<float>(std::min(n, kMostRows)) + px(ui, 6.0F);
}

void draw_branches(Ui& ui, float height) {
  const session::Snapshot& s = *ui.snapshot;
  ui.widgets.state("branches/count", fmt::format("{}", s.branches.size()));
  if (s.branches.empty()) {
    return;
  }
  const Palette& c = colors(ui);
  if (ImGui::BeginChild("branches", {0.0F, height})) {
    section_title(ui, "Branches");
    subtitle(ui, fmt::format("{} left behind", s.branches.size()));
    if (s.undo_branch >= 0) {
      const float width = button_size(ui, "Undo").x;
      ImGui::SameLine(std::max(0.0F, right_edge() - width));
      if (button(ui, "branches/undo", "Undo", Look::kPlain,
                 "Go back to the line that the last rewind left  ·  Ctrl+Z", !is_busy(ui))) {
        undo_rewind(ui);
      }
    }
    const FontScope font(ui.fonts.mono, 0.92F);
    const float line = row_height(ui);
    ImDrawList* draw = ImGui::GetWindowDrawList();
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {0.0F, 0.0F});
    for (const view::BranchRow& row : view::branch_rows(s.branches)) {
      const session::BranchInfo& info = *row.info;
      const ImVec2 min = ImGui::GetCursorScreenPos();
      const float width = std::max(ImGui::GetContentRegionAvail().x, 1.0F);
      ImGui::PushID(info.id);
      if (ImGui::InvisibleButton("branch", {width, line}) && !is_busy(ui)) {
        switch_branch(ui, info.id);
      }
      const bool hovered = ImGui::IsItemHovered();
      if (ImGui::IsItemClicked(ImGuiMouseButton_Right)) {
        ui.send(session::DropBranch{info.id});
      }
      ImGui::PopID();
      ui.widgets.mark(fmt::format("branches/{}", info.id));
      if (hovered) {
        draw->AddRectFilled(min, {min.x + width, min.y + line}, c.card, px(ui, 3.0F));
      }
      const float x = min.x + px(ui, 6.0F) + px(ui, 12.0F) * static_cast<float>(row.depth);
      const float y = min.y + px(ui, 3.0F);
      const float middle = min.y + line / 2.0F;
      // A stem that leaves the line above.
      draw->AddLine({x, min.y}, {x, middle}, c.faint);
      draw->AddLine({x, middle}, {x + px(ui, 7.0F), middle}, c.faint);
      const std::string place = fmt::format("{}", info.fork);
      draw->AddText({x + px(ui, 11.0F), y}, c.quiet, place.c_str());
      const float text_x = x + px(ui, 17.0F) + ImGui::CalcTextSize("000").x;
      const std::string count = fmt::format("{}", info.n_tokens - info.fork);
      const float count_x = min.x + width - ImGui::CalcTextSize(count.c_str()).x - px(ui, 4.0F);
      const std::string tail = fitted(tail_text(ui, info), count_x - px(ui, 6.0F) - text_x);
      draw->AddText({text_x, y}, hovered ? c.text : c.accent, tail.c_str());
      draw->AddText({count_x, y}, c.quiet, count.c_str());
      const FontScope usual(ui.fonts.regular);
      tip(
          fmt::format("Leaves after position {}, {} tokens of its own, every captured step kept.\n"
                      "Click: go there (the present line becomes a branch)\nRight-click: drop it",
                      info.fork - 1, info.n_tokens - info.fork));
    }
    ImGui::PopStyleVar();
  }
  ImGui::EndChild();
}

}  // namespace layerscope::gui

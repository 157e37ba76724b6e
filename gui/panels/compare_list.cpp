// Compare tab: the list of taps in order of computation, and what was not compared. UI thread.
#include <fmt/format.h>

#include <algorithm>

#include "gui/panels/actions.h"
#include "gui/panels/compare_parts.h"
#include "gui/panels/widgets.h"
#include "gui/view/tensor_source.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

void row(Ui& ui, const view::PairRow& row, const compare::Pair& pair) {
  const Palette& c = colors(ui);
  ImGui::TableNextRow();
  ImGui::TableNextColumn();
  ImGui::PushID(static_cast<int>(row.index));
  const ImU32 ink = row.diverges ? c.warn : c.text;
  ImGui::PushStyleColor(ImGuiCol_Text, ink);
  const std::string label = fitted(fmt::format("{}{}", row.diverges ? "≠ " : "", row.name),
                                   ImGui::GetContentRegionAvail().x);
  if (ImGui::Selectable(label.c_str(), false, ImGuiSelectableFlags_SpanAllColumns)) {
    go_to_pair(ui, pair);
  }
  ImGui::PopStyleColor();
  ui.widgets.mark(fmt::format("compare/tap/{}", row.index));
  const compare::Difference& d = pair.difference;
  tip(fmt::format(
      "{} against {}\npass {}, positions {} … {}\nmax abs {:.3g}, relative {:.3g}, "
      "cosine {:.6f}\n{:.3g} times the tolerance, {} values{}{}\nClick to go there",
      pair.name_a, pair.name_b, pair.pass, pair.first_position,
      pair.first_position + pair.n_positions - 1, d.max_abs, d.rel_l2, d.cosine, d.excess,
      d.n_compared, d.partial ? " (not all are known)" : "",
      d.worst_channel >= 0
          ? fmt::format("\nworst channel {}: {:.3g} relative", d.worst_channel, d.channel_error)
          : std::string()));
  ImGui::PopID();
  ImGui::TableNextColumn();
  mono(ui, ink, row.error);
  ImGui::TableNextColumn();
  mono(ui, row.diverges ? c.warn : c.quiet,
       row.excess >= 0.01 ? fmt::format("{:.3g}×", row.excess) : "<0.01×");
  ImGui::TableNextColumn();
  text_elided(c.quiet, row.outlier.empty() ? row.place : row.outlier,
              ImGui::GetContentRegionAvail().x);
}

}  // namespace

void go_to_pair(Ui& ui, const compare::Pair& pair) {
  const compare::Difference& d = pair.difference;
  if (pair.layer >= 0) {
    ui.selection.layer = pair.layer;
  }
  if (d.head >= 0) {
    ui.selection.head = d.head;
    ui.selection.head_open = true;
  }
  const int position = d.position >= 0 ? d.position : pair.first_position;
  if (position >= 0 && position < ui.snapshot->n_frames) {
    select_position(ui, position == ui.snapshot->n_frames - 1 ? -1 : position);
  }
  ui.selection.tensor = view::tap_key(pair.tap, pair.layer);
  ui.beside_reference = true;
}

void draw_compare_list(Ui& ui, CompareDrawing& drawing) {
  const Palette& c = colors(ui);
  section_title(ui, "Taps");
  if (drawing.result == nullptr) {
    ImGui::NewLine();
    text(c.quiet, "The taps of both sides, in order of computation, stand here.");
    return;
  }
  const auto& pairs = drawing.result->comparison.pairs;
  const auto n = std::count_if(pairs.begin(), pairs.end(),
                               [](const compare::Pair& p) { return p.difference.diverges(); });
  subtitle(ui, fmt::format("{} compared, {} differ", pairs.size(), n));
  if (button(ui, "compare/only", "only what differs",
             drawing.only_diverging ? Look::kOn : Look::kPlain, "Leaves out what agrees")) {
    drawing.only_diverging = !drawing.only_diverging;
    drawing.list_again();
  }
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  if (button(ui, "compare/tensors", "Side by side", Look::kPlain,
             "The selected tap of A and B beside each other, with their difference, in the Tensors "
             "tab",
             ui.selection.tensor.starts_with("tap/"))) {
    ui.beside_reference = true;
    ui.requests.show_tab = "tensors";
  }
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  if (search_field(ui, "compare/search", drawing.search, "search",
                   std::max(ImGui::GetContentRegionAvail().x, px(ui, 60.0F)))) {
    drawing.list_again();
  }
  const float below =
      drawing.unmatched.empty()
          ? 0.0F
          : ImGui::GetTextLineHeightWithSpacing() *
                    static_cast<float>(std::min<std::size_t>(drawing.unmatched.size(), 3)) +
                ImGui::GetTextLineHeightWithSpacing();
  constexpr ImGuiTableFlags kFlags =
      ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg | ImGuiTableFlags_SizingStretchProp;
  const float height = std::max(ImGui::GetContentRegionAvail().y - below, px(ui, 60.0F));
  if (ImGui::BeginTable("taps", 4, kFlags, {0.0F, height})) {
    ImGui::TableSetupScrollFreeze(0, 1);
    ImGui::TableSetupColumn("Tap", 0, 1.5F);
    ImGui::TableSetupColumn("Relative", 0, 0.7F);
    ImGui::TableSetupColumn("/ tolerance", 0, 0.8F);
    ImGui::TableSetupColumn("Where", 0, 1.3F);
    ImGui::TableHeadersRow();
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(drawing.rows.size()));
    while (clipper.Step()) {
      for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
        const view::PairRow& one = drawing.rows[static_cast<std::size_t>(i)];
        row(ui, one, pairs[one.index]);
      }
    }
    ImGui::EndTable();
  }
  if (!drawing.unmatched.empty()) {
    text(c.quiet, "Not compared");
    ui.widgets.mark("compare/unmatched");
    if (ImGui::BeginChild("unmatched")) {
      const FontScope small(nullptr, 0.9F);
      for (const std::string& line : drawing.unmatched) {
        text(c.quiet, view::cut_text(line, 110));
        tip(line);
      }
    }
    ImGui::EndChild();
  }
}

}  // namespace layerscope::gui

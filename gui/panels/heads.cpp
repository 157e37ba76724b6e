// Heads tab: every head's attention statistics at the shown step, as a sortable table. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/frames.h"
#include "gui/view/head_table.h"
#include "gui/view/history_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

class HeadsPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "heads"; }
  [[nodiscard]] const char* title() const override { return "Heads"; }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  void refresh(Ui& ui);
  static void row(Ui& ui, const view::HeadRow& row, int keys);

  std::vector<view::HeadRow> rows_;
  std::uint64_t serial_ = 0;
  std::uint64_t session_ = 0;
  view::HeadColumn column_ = view::HeadColumn::kHead;
  bool descending_ = false;
};

void HeadsPanel::refresh(Ui& ui) {
  const capture::TokenFrame* frame = ui.shown_frame();
  ImGuiTableSortSpecs* specs = ImGui::TableGetSortSpecs();
  bool resort = false;
  if (specs != nullptr && specs->SpecsDirty && specs->SpecsCount > 0) {
    column_ = static_cast<view::HeadColumn>(specs->Specs[0].ColumnUserID);
    descending_ = specs->Specs[0].SortDirection == ImGuiSortDirection_Descending;
    specs->SpecsDirty = false;
    resort = true;
  }
  if (rows_.empty() || frame->serial != serial_ || ui.snapshot->session_serial != session_) {
    rows_ = view::head_rows(frame);
    serial_ = frame->serial;
    session_ = ui.snapshot->session_serial;
    resort = true;
  }
  if (resort) {
    view::sort_heads(rows_, column_, descending_);
  }
}

void HeadsPanel::row(Ui& ui, const view::HeadRow& row, int keys) {
  const Palette& c = colors(ui);
  const capture::HeadStats& s = row.stats;
  ImGui::TableNextRow();
  ImGui::TableNextColumn();
  const std::string name = fmt::format("layer {} · head {}", row.layer, row.head);
  const bool selected = row.layer == ui.selection.layer && row.head == ui.selection.head;
  if (ImGui::Selectable(name.c_str(), selected, ImGuiSelectableFlags_SpanAllColumns)) {
    ui.selection.layer = row.layer;
    ui.selection.head = row.head;
    ui.selection.head_open = true;
  }
  ui.widgets.mark(fmt::format("heads/layer {}/head {}", row.layer, row.head));
  tip("Click: show this head's attention map");
  const auto number = [&ui](const std::string& value, ImU32 color) {
    ImGui::TableNextColumn();
    mono(ui, color, value);
  };
  const FontScope font(ui.fonts.mono);
  const bool off = ui.side() != session::Side::kDifference && view::row_sum_off(s, keys);
  number(fmt::format("{:.4f}{}", s.row_sum, off ? "  ≠ 1" : ""), off ? c.error : c.text);
  number(fmt::format("{:7.4f}", s.entropy), std::isfinite(s.entropy) ? c.text : c.error);
  number(fmt::format("{:.4f}", s.max), std::isfinite(s.max) ? c.text : c.error);
  ImGui::TableNextColumn();
  mono(ui, c.quiet, s.argmax >= 0 ? view::cut_text(token_label(ui, s.argmax), 24) : "—");
  number(fmt::format("{:.4f}", s.first), c.text);
  number(fmt::format("{:.4f}", s.self), c.text);
}

std::string HeadsPanel::csv(const Ui& ui) const {
  std::string all =
      "position,layer,head,row_sum,entropy_nat,maximum,maximum_at,first_token,itself\n";
  for (const view::HeadRow& row : rows_) {
    const capture::HeadStats& s = row.stats;
    all += fmt::format("{},{},{},{:.9g},{:.9g},{:.9g},{},{:.9g},{:.9g}\n", ui.shown_position(),
                       row.layer, row.head, s.row_sum, s.entropy, s.max, s.argmax, s.first, s.self);
  }
  return rows_.empty() ? std::string() : all;
}

void HeadsPanel::draw(Ui& ui) {
  const capture::TokenFrame* frame = ui.shown_frame();
  if (frame == nullptr || frame->heads.empty()) {
    rows_.clear();
    ui.widgets.state("heads/dropped", view::dropped_statistics(*ui.snapshot, ui.shown_position()));
    empty_until_run(ui, "heads", "No statistics of heads",
                    frame == nullptr
                        ? "Open a model and press Step (F10): each head's row is summed "
                          "up here."
                    : ui.snapshot->recording != nullptr && !ui.snapshot->recording->heads.empty()
                        ? ui.snapshot->recording->heads
                    : !view::dropped_statistics(*ui.snapshot, ui.shown_position()).empty()
                        ? view::dropped_statistics(*ui.snapshot, ui.shown_position())
                        : "Capture is off at this step; attention statistics need at "
                          "least the summary tier.");
    return;
  }
  text(colors(ui).quiet, fmt::format("query {} · {} keys", token_label(ui, ui.shown_position()),
                                     ui.shown_position() + 1));
  constexpr ImGuiTableFlags kFlags = ImGuiTableFlags_Sortable | ImGuiTableFlags_ScrollY |
                                     ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH |
                                     ImGuiTableFlags_SizingStretchProp;
  if (!ImGui::BeginTable("heads", 7, kFlags)) {
    return;
  }
  using view::HeadColumn;
  const auto column = [](const char* name, HeadColumn id, ImGuiTableColumnFlags flags = 0) {
    ImGui::TableSetupColumn(name, flags, 0.0F, static_cast<ImGuiID>(id));
  };
  ImGui::TableSetupScrollFreeze(0, 1);
  column("Head", HeadColumn::kHead, ImGuiTableColumnFlags_DefaultSort);
  constexpr ImGuiTableColumnFlags kDown = ImGuiTableColumnFlags_PreferSortDescending;
  column("Row sum", HeadColumn::kRowSum, kDown);
  column("Entropy (nat)", HeadColumn::kEntropy, kDown);
  column("Maximum", HeadColumn::kMax, kDown);
  column("Where", HeadColumn::kWhere);
  column("First token", HeadColumn::kFirst, kDown);
  column("Itself", HeadColumn::kSelf, kDown);
  ImGui::TableHeadersRow();
  refresh(ui);
  ImGuiListClipper clipper;
  clipper.Begin(static_cast<int>(rows_.size()));
  while (clipper.Step()) {
    for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
      row(ui, rows_[static_cast<std::size_t>(i)], ui.shown_position() + 1);
    }
  }
  ImGui::EndTable();
}

}  // namespace

std::unique_ptr<Panel> make_heads() { return std::make_unique<HeadsPanel>(); }

}  // namespace layerscope::gui

// Findings tab: what the checks found, most severe first, with likely cause and evidence. UI
// thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "gui/panels/actions.h"
#include "gui/panels/diagnosis.h"
#include "gui/panels/evidence.h"
#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/export_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

/// When the deep checks run without being asked.
constexpr std::array<const char*, 4> kEvery{"on request", "every 8 tokens", "every 32 tokens",
                                            "every 128 tokens"};
constexpr std::array<int, 4> kEveryTokens{0, 8, 32, 128};

constexpr std::size_t kShownBytes = 320;  ///< of a message in the table; the pane shows all

class FindingsPanel final : public Panel {
 public:
  explicit FindingsPanel(std::shared_ptr<const TabTitles> titles) : titles_(std::move(titles)) {}
  [[nodiscard]] const char* id() const override { return "findings"; }
  [[nodiscard]] const char* title() const override { return titles_->findings.c_str(); }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  void refresh(const session::Snapshot& snapshot);
  void header(Ui& ui);
  static void nothing_found(Ui& ui);
  void table(Ui& ui, bool narrow);
  void row(Ui& ui, std::size_t i, bool narrow);
  [[nodiscard]] const diagnose::Finding* selected(const session::Snapshot& snapshot) const;

  std::shared_ptr<const TabTitles> titles_;
  std::vector<view::FindingRow> rows_;
  std::vector<std::size_t> order_;
  std::uint64_t serial_ = ~std::uint64_t{0};
  const session::ModelInfo* model_ = nullptr;
  std::string selected_;  ///< key of the row
  int every_ = 0;         ///< of kEvery: when deep checks run by themselves
  EvidencePane pane_;
};

void FindingsPanel::refresh(const session::Snapshot& s) {
  if (s.findings_serial != serial_ || s.model.get() != model_ ||
      rows_.size() != s.findings.size()) {
    serial_ = s.findings_serial;
    model_ = s.model.get();
    rows_ = view::finding_rows(s.findings);
    order_ = view::finding_order(s.findings);
  }
}

const diagnose::Finding* FindingsPanel::selected(const session::Snapshot& s) const {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].key == selected_) {
      return &s.findings[order_[i]];
    }
  }
  return nullptr;
}

std::string FindingsPanel::csv(const Ui& ui) const {
  if (ui.snapshot->findings.empty()) {
    return {};
  }
  std::string all = "severity,cause,where,message,value,expected,advice\n";
  for (const view::FindingRow& row : view::finding_rows(ui.snapshot->findings)) {
    all += view::csv_line({diagnose::severity_name(row.severity), row.cause, row.where, row.what,
                           row.value, row.expected, row.advice});
  }
  return all;
}

void FindingsPanel::header(Ui& ui) {
  const Palette& c = colors(ui);
  const session::Snapshot& s = *ui.snapshot;
  const bool running = is_diagnosing(ui);
  if (button(ui, "findings/deep", running ? "Checking…" : "Run deep checks",
             s.diagnosed || running ? Look::kPlain : Look::kPrimary,
             "Replays the tokens with whole tensors and recomputes every step with the file's own "
             "weights. Takes a moment; the text stays as it is.",
             has_model(ui) && s.n_frames > 0 && !is_busy(ui))) {
    ui.send(session::DiagnoseNow{});
  }
  if (running) {
    ImGui::SameLine(0.0F, px(ui, 6.0F));
    if (button(ui, "findings/cancel", "Cancel", Look::kLink, "Shift+F5")) {
      stop(ui);
    }
  }
  ImGui::SameLine(0.0F, px(ui, 6.0F));
  if (button(ui, "findings/copy", "Copy all", Look::kPlain,
             "Every finding as text, for a mail or a bug report", !s.findings.empty())) {
    ImGui::SetClipboardText(view::findings_text(s).c_str());
  }
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  if (combo(ui, "findings/every", "deep checks ", every_, kEvery.data(),
            static_cast<int>(kEvery.size()))) {
    ui.send(session::SetDiagnosis{true, kEveryTokens[static_cast<std::size_t>(every_)]});
  }
  tip("Decoding is held against evaluating all tokens at once, and every step recomputed, after so "
      "many generated tokens");
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  ImGui::AlignTextToFramePadding();
  if (!s.findings.empty()) {
    text(c.text, view::tally_text(s.findings));
    ImGui::SameLine(0.0F, px(ui, 12.0F));
    ImGui::AlignTextToFramePadding();
  }
  const char* deep = running           ? "deep checks are running"
                     : s.diagnosed     ? "deep checks ran on these tokens"
                     : s.n_frames == 0 ? "deep checks need tokens"
                                       : "deep checks have not run on these tokens";
  text(c.quiet, fmt::format("{} checks ran · {}", s.checks_run, deep));
}

void FindingsPanel::nothing_found(Ui& ui) {
  const session::Snapshot& s = *ui.snapshot;
  if (s.model == nullptr) {
    empty_state(ui, "findings", "Nothing to check yet",
                "Open a model: its file is checked at once, and every token as it is computed.");
    return;
  }
  const char* live =
      "Looked at: the file's tensors, the prompt's tokens, NaN and infinities, attention row sums, "
      "rotation, residuals, padding and collapse of the logits, sampling, repetition. ";
  const char* deep =
      s.diagnosed ? "The deep checks agreed too: every projection, norm, score and logit was "
                    "recomputed from the file."
                  : "\"Run deep checks\" recomputes every projection, norm, score and logit from "
                    "the file's own weights and compares.";
  if (s.n_frames == 0) {
    empty_until_run(
        ui, "findings", fmt::format("No anomaly in the file ({} checks)", s.checks_run),
        "Step (F10) evaluates the prompt; every token is then checked as it is computed.");
    return;
  }
  empty_state(ui, "findings", fmt::format("No anomaly found by {} checks", s.checks_run),
              std::string(live) + deep);
}

void FindingsPanel::row(Ui& ui, std::size_t i, bool narrow) {
  const Palette& c = colors(ui);
  const view::FindingRow& row = rows_[i];
  const bool chosen = row.key == selected_;
  const std::string what = view::cut_text(row.what, kShownBytes);
  const std::string advice = view::cut_text(row.advice, kShownBytes);
  const std::string more =
      row.related.empty() || chosen ? "" : fmt::format("+ {} related", row.related.size());
  ImGui::TableNextRow();
  // The row's height is that of its tallest cell: the clickable area needs it first.
  float height = ImGui::GetTextLineHeight();
  const auto measure = [&](int column, std::string_view value, ImFont* font, float extra) {
    if (!ImGui::TableSetColumnIndex(column)) {
      return;
    }
    const FontScope scope(font);
    const float wrap = std::max(ImGui::GetContentRegionAvail().x, 1.0F);
    const ImVec2 size = ImGui::CalcTextSize(value.data(), value.data() + value.size(), false, wrap);
    height = std::max(height, (value.empty() ? 0.0F : size.y) + extra);
  };
  const float line = ImGui::GetTextLineHeightWithSpacing();
  const int cause = narrow ? 3 : 5;
  measure(1, what, nullptr, more.empty() ? 0.0F : line);
  measure(2, row.where, ui.fonts.mono, 0.0F);
  measure(cause, advice, nullptr, line);

  ImGui::TableSetColumnIndex(0);
  ImGui::PushID(static_cast<int>(i));
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const ImVec2 start = ImGui::GetCursorPos();
  if (ImGui::Selectable("##row", chosen,
                        ImGuiSelectableFlags_SpanAllColumns | ImGuiSelectableFlags_AllowOverlap,
                        {0.0F, height})) {
    selected_ = row.key;
    go_to(ui, ui.snapshot->findings[order_[i]]);
  }
  ImGui::PopID();
  ui.widgets.mark(fmt::format("findings/row/{}", i));
  const float radius = px(ui, 6.0F);
  draw_badge(ui, "", {at.x + radius, at.y + ImGui::GetTextLineHeight() / 2.0F}, radius,
             row.severity);
  ImGui::SetCursorPos({start.x + radius * 2.0F + px(ui, 7.0F), start.y});
  text(severity_color(ui, row.severity), view::severity_word(row.severity));

  const auto cell = [&](int column, ImU32 color, std::string_view value) {
    if (ImGui::TableSetColumnIndex(column)) {
      ImGui::PushTextWrapPos(0.0F);
      text(color, value);
      ImGui::PopTextWrapPos();
    }
  };
  cell(1, c.text, what);
  if (!more.empty()) {
    text(c.faint, more);
  }
  {
    const FontScope font(ui.fonts.mono);
    cell(2, c.text, row.where);
    if (!narrow) {
      cell(3, severity_color(ui, row.severity), row.value);
      cell(4, c.text, row.expected);
    }
  }
  {
    const FontScope font(ui.fonts.bold);
    cell(cause, c.text, row.cause);
  }
  cell(cause, c.quiet, advice);
  if (!chosen) {
    return;
  }
  for (const std::string& related : row.related) {
    ImGui::TableNextRow();
    ImGui::TableSetBgColor(ImGuiTableBgTarget_RowBg0, mix(c.panel, c.accent, 0.06F));
    cell(1, c.quiet, "↳ " + view::cut_text(related, kShownBytes));
    cell(cause, c.faint,
         related.starts_with("explains") ? "follows from the finding above" : "the same cause");
  }
}

void FindingsPanel::table(Ui& ui, bool narrow) {
  constexpr ImGuiTableFlags kFlags = ImGuiTableFlags_ScrollY | ImGuiTableFlags_BordersInnerH |
                                     ImGuiTableFlags_SizingStretchProp | ImGuiTableFlags_PadOuterX;
  // A table of another shape is another table: ImGui keeps widths by id.
  if (!ImGui::BeginTable(narrow ? "findings narrow" : "findings", narrow ? 4 : 6, kFlags)) {
    return;
  }
  ImGui::TableSetupScrollFreeze(0, 1);
  ImGui::TableSetupColumn("Severity", ImGuiTableColumnFlags_WidthFixed, px(ui, 82.0F));
  ImGui::TableSetupColumn("Finding", 0, 3.2F);
  ImGui::TableSetupColumn("Where", 0, 1.5F);
  if (!narrow) {
    ImGui::TableSetupColumn("Value", ImGuiTableColumnFlags_WidthFixed, px(ui, 80.0F));
    ImGui::TableSetupColumn("Expected", ImGuiTableColumnFlags_WidthFixed, px(ui, 80.0F));
  }
  ImGui::TableSetupColumn("Likely cause and what to do", 0, 2.4F);
  ImGui::TableHeadersRow();
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    row(ui, i, narrow);
  }
  ImGui::EndTable();
}

void FindingsPanel::draw(Ui& ui) {
  refresh(*ui.snapshot);
  header(ui);
  const diagnose::Finding* finding = selected(*ui.snapshot);
  ui.widgets.state("findings/selected", finding != nullptr ? finding->cause : "");
  if (rows_.empty()) {
    nothing_found(ui);
    return;
  }
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const bool narrow = room.x < px(ui, 1250.0F);
  const float right = std::clamp(room.x * 0.32F, px(ui, 250.0F), px(ui, 620.0F));
  const float gap = px(ui, 18.0F);
  if (ImGui::BeginChild("list", {std::max(room.x - right - gap, 1.0F), room.y})) {
    table(ui, narrow);
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("detail", {right, room.y})) {
    pane_.draw(ui, finding);
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_findings(std::shared_ptr<const TabTitles> titles) {
  return std::make_unique<FindingsPanel>(std::move(titles));
}

}  // namespace layerscope::gui

// Faults tab: bugs to inject on purpose, those in force, and the text before and after. UI thread.
#include <fmt/format.h>
#include <imgui.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "gui/panels/actions.h"
#include "gui/panels/diagnosis.h"
#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/export_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

class FaultsPanel final : public Panel {
 public:
  explicit FaultsPanel(std::shared_ptr<const TabTitles> titles) : titles_(std::move(titles)) {}
  [[nodiscard]] const char* id() const override { return "faults"; }
  [[nodiscard]] const char* title() const override { return titles_->faults.c_str(); }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  void follow(const Ui& ui);
  void list(Ui& ui);
  void row(Ui& ui, std::size_t index);
  void detail(Ui& ui);
  static void active(Ui& ui);
  void texts(Ui& ui) const;
  [[nodiscard]] const session::FaultInfo* chosen(const Ui& ui) const;

  std::shared_ptr<const TabTitles> titles_;
  const session::ModelInfo* model_ = nullptr;
  std::string search_;
  std::vector<std::size_t> shown_;
  std::string chosen_;    ///< name
  std::string argument_;  ///< the fault as SetFaults takes it
  std::uint64_t version_ = 0;
  view::TextDiff diff_;
  std::string before_, after_;
};

const session::FaultInfo* FaultsPanel::chosen(const Ui& ui) const {
  for (const session::FaultInfo& fault : ui.snapshot->model->faults) {
    if (fault.name == chosen_) {
      return &fault;
    }
  }
  return nullptr;
}

void FaultsPanel::follow(const Ui& ui) {
  const session::Snapshot& s = *ui.snapshot;
  if (s.model.get() != model_) {
    model_ = s.model.get();
    search_.clear();
    chosen_.clear();
    argument_.clear();
    shown_ =
        model_ != nullptr ? view::matching_faults(model_->faults, "") : std::vector<std::size_t>{};
  }
  if (s.version != version_) {
    version_ = s.version;
    const bool known = ui.healthy.comparable(s);
    const std::vector<std::int32_t> before = known ? ui.healthy.ids() : std::vector<std::int32_t>{};
    const std::vector<std::int32_t> after =
        s.faults.empty() ? std::vector<std::int32_t>{} : view::generated_ids(s);
    diff_ = view::diff_text(tokenizer_of(ui), before, after);
    before_ = diff_.same + diff_.before_token + diff_.before_rest;
    after_ = diff_.same + diff_.after_token + diff_.after_rest;
    if (!known || s.faults.empty()) {
      diff_.first = -1;
    }
  }
}

void FaultsPanel::row(Ui& ui, std::size_t index) {
  const Palette& c = colors(ui);
  const session::FaultInfo& fault = ui.snapshot->model->faults[index];
  const bool possible = fault.reason.empty();
  ImGui::TableNextRow();
  ImGui::TableNextColumn();
  ImGui::PushID(static_cast<int>(index));
  ImGui::PushStyleColor(ImGuiCol_Text, possible ? c.text : c.faint);
  const std::string title =
      fitted(view::capitalised(fault.title), ImGui::GetContentRegionAvail().x);
  if (ImGui::Selectable(title.c_str(), fault.name == chosen_,
                        ImGuiSelectableFlags_SpanAllColumns)) {
    chosen_ = fault.name;
    argument_ = fault.example;
    ui.fault_request.error.clear();
  }
  ImGui::PopStyleColor();
  ImGui::PopID();
  ui.widgets.mark(fmt::format("faults/row/{}", fault.name));
  tip(possible ? fault.story : fmt::format("{}\n\nNot here: {}", fault.story, fault.reason));
  ImGui::TableNextColumn();
  {
    const FontScope font(ui.fonts.mono);
    text_elided(possible ? c.quiet : c.faint, fault.name, ImGui::GetContentRegionAvail().x);
  }
  ImGui::TableNextColumn();
  text_elided(c.faint, possible ? "" : "not in this model", ImGui::GetContentRegionAvail().x);
}

void FaultsPanel::list(Ui& ui) {
  const auto& faults = ui.snapshot->model->faults;
  if (search_field(ui, "faults/search", search_, "search faults",
                   std::min(px(ui, 220.0F), ImGui::GetContentRegionAvail().x))) {
    shown_ = view::matching_faults(faults, search_);
  }
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  ImGui::AlignTextToFramePadding();
  text(colors(ui).quiet, fmt::format("{} of {} faults", shown_.size(), faults.size()));
  constexpr ImGuiTableFlags kFlags =
      ImGuiTableFlags_ScrollY | ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_SizingStretchProp;
  if (ImGui::BeginTable("faults", 3, kFlags)) {
    ImGui::TableSetupColumn("Fault", 0, 2.2F);
    ImGui::TableSetupColumn("Name", 0, 1.5F);
    ImGui::TableSetupColumn("Possible", 0, 1.0F);
    for (const std::size_t index : shown_) {
      if (index < faults.size()) {
        row(ui, index);
      }
    }
    ImGui::EndTable();
  }
}

/// Chips of what is in force; the cross on each takes it back.
void FaultsPanel::active(Ui& ui) {
  const Palette& c = colors(ui);
  const std::vector<std::string>& faults = ui.snapshot->faults;
  section_title(ui, "In force");
  if (faults.empty()) {
    subtitle(ui, "none: the model computes as its file says");
    return;
  }
  const char* all = "Remove all";
  ImGui::SameLine(std::max(0.0F, right_edge() - ImGui::CalcTextSize(all).x));
  if (button(ui, "faults/clear", all, Look::kLink, "Back to the model as its file says")) {
    set_faults(ui, {});
  }
  const float right = ImGui::GetCursorScreenPos().x + ImGui::GetContentRegionAvail().x;
  for (std::size_t i = 0; i < faults.size(); ++i) {
    const std::string label = fmt::format("{}  ×", faults[i]);
    const float width = button_size(ui, label).x;
    if (i > 0 && ImGui::GetItemRectMax().x + px(ui, 6.0F) + width <= right) {
      ImGui::SameLine(0.0F, px(ui, 6.0F));
    }
    if (button(ui, fmt::format("faults/remove/{}", i), label, Look::kWarn,
               "Remove " + view::fault_title(ui.snapshot->model->faults, faults[i]))) {
      std::vector<std::string> left = faults;
      left.erase(left.begin() + static_cast<std::ptrdiff_t>(i));
      set_faults(ui, std::move(left));
      break;
    }
  }
  ImGui::PushTextWrapPos(0.0F);
  text(c.warn, "The text and every picture now show the broken model.");
  ImGui::PopTextWrapPos();
  ImGui::Dummy({0.0F, px(ui, 2.0F)});
}

void FaultsPanel::detail(Ui& ui) {
  const Palette& c = colors(ui);
  const session::FaultInfo* fault = chosen(ui);
  if (fault == nullptr) {
    section_title(ui, "Inject a fault");
    ImGui::PushTextWrapPos(0.0F);
    text(c.quiet,
         "Choose one on the left. It breaks the running model in one known way, so that "
         "you see what such a bug does to attention, norms and text; the file stays as "
         "it is.");
    ImGui::PopTextWrapPos();
    return;
  }
  section_title(ui, fault->title);
  ImGui::PushTextWrapPos(0.0F);
  text(c.text, fault->story);
  if (!fault->reason.empty()) {
    text(c.warn, "Not possible in this model: " + fault->reason);
  }
  ImGui::PopTextWrapPos();
  const bool possible = fault->reason.empty();
  ImGui::BeginDisabled(!possible);
  {
    const FontScope font(ui.fonts.mono);
    const float room = ImGui::GetContentRegionAvail().x - button_size(ui, "Inject").x - px(ui, 8.F);
    ImGui::SetNextItemWidth(std::clamp(room, px(ui, 60.0F), px(ui, 320.0F)));
    ImGui::InputText("##argument", &argument_);
    ui.widgets.mark("faults/arg");
    tip(fmt::format("Written {}", fault->usage));
  }
  ImGui::EndDisabled();
  ui.widgets.state("faults/arg", argument_);
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  if (button(ui, "faults/inject", "Inject", Look::kPrimary,
             "Breaks the model so and generates the text again",
             possible && !argument_.empty() && has_model(ui))) {
    std::vector<std::string> faults = ui.snapshot->faults;
    if (std::find(faults.begin(), faults.end(), argument_) == faults.end()) {
      faults.push_back(argument_);
    }
    set_faults(ui, std::move(faults));
  }
  ImGui::PushTextWrapPos(0.0F);
  if (!ui.fault_request.error.empty()) {
    text(c.error, ui.fault_request.error);
  } else {
    mono(ui, c.faint, fault->usage);
  }
  ImGui::PopTextWrapPos();
}

/// Text in words that wrap; the one marked stands out by colour, frame and background.
void flow(Ui& ui, std::string_view same, std::string_view token, std::string_view rest,
          ImU32 mark) {
  const Palette& c = colors(ui);
  const FontScope font(ui.fonts.mono);
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  const float width = std::max(ImGui::GetContentRegionAvail().x, 1.0F);
  const float line = ImGui::GetTextLineHeight() + px(ui, 3.0F);
  ImVec2 at = origin;
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const auto word = [&](std::string_view value, ImU32 ink, bool marked) {
    const float extent = ImGui::CalcTextSize(value.data(), value.data() + value.size()).x;
    if (at.x > origin.x && at.x + extent > origin.x + width) {
      at = {origin.x, at.y + line};
    }
    if (marked) {
      const ImVec2 max{at.x + std::max(extent, px(ui, 6.0F)), at.y + line - px(ui, 1.0F)};
      draw->AddRectFilled(at, max, mix(c.panel, mark, 0.25F), px(ui, 2.0F));
      draw->AddRect(at, max, mark, px(ui, 2.0F));
    }
    draw->AddText(at, ink, value.data(), value.data() + value.size());
    at.x += extent;
  };
  const auto words = [&](std::string_view value, ImU32 ink) {
    while (!value.empty()) {
      if (value.front() == '\n') {
        at = {origin.x, at.y + line};
        value.remove_prefix(1);
        continue;
      }
      // A word takes the spaces before it along.
      const std::size_t begin = value.find_first_not_of(' ');
      const std::size_t end = begin == std::string_view::npos
                                  ? value.size()
                                  : std::min(value.find_first_of(" \n", begin), value.size());
      word(value.substr(0, end), ink, false);
      value.remove_prefix(end);
    }
  };
  words(same, c.text);
  if (!token.empty()) {
    const bool feed = token.find('\n') != std::string_view::npos;
    word(feed ? "⏎" : token, mark, true);
    at = feed ? ImVec2{origin.x, at.y + line} : at;
  }
  words(rest, token.empty() ? c.text : c.quiet);
  ImGui::Dummy({width, at.y + line - origin.y});
}

void FaultsPanel::texts(Ui& ui) const {
  const Palette& c = colors(ui);
  const session::Snapshot& s = *ui.snapshot;
  const float gap = px(ui, 16.0F);
  const float half = std::max((ImGui::GetContentRegionAvail().x - gap) / 2.0F, 1.0F);
  if (ImGui::BeginChild("before", {half, 0.0F})) {
    section_title(ui, "Before");
    subtitle(ui, "without faults");
    if (before_.empty() || !ui.healthy.comparable(s)) {
      ImGui::PushTextWrapPos(0.0F);
      text(c.quiet, s.faults.empty() ? "Run (F5) the healthy model first: its text is kept here."
                                     : "No text without faults is known for this prompt. Remove "
                                       "the faults and Run (F5) once.");
      ImGui::PopTextWrapPos();
    } else {
      flow(ui, diff_.same, diff_.before_token, diff_.before_rest, c.good);
    }
  }
  ImGui::EndChild();
  ui.widgets.mark("faults/text/before");
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("after", {half, 0.0F})) {
    section_title(ui, "After");
    subtitle(ui, s.faults.empty()   ? "with a fault"
                 : diff_.first >= 0 ? fmt::format("differs from token {} on", diff_.first + 1)
                 : after_.empty()   ? "not generated yet"
                                    : "no difference so far");
    if (s.faults.empty()) {
      text(c.quiet, "No fault is in force.");
    } else if (after_.empty()) {
      ImGui::PushTextWrapPos(0.0F);
      text(c.quiet, "Step (F10) or Run (F5) generates with the fault.");
      ImGui::PopTextWrapPos();
    } else {
      flow(ui, diff_.same, diff_.after_token, diff_.after_rest, c.warn);
    }
  }
  ImGui::EndChild();
  ui.widgets.mark("faults/text/after");
}

std::string FaultsPanel::csv(const Ui& ui) const {
  const auto& model = ui.snapshot->model;
  if (model == nullptr || model->faults.empty()) {
    return {};
  }
  std::string all = "fault,title,in_force,why_not\n";
  for (const session::FaultInfo& fault : model->faults) {
    const auto& active = ui.snapshot->faults;
    const bool on = std::any_of(active.begin(), active.end(), [&](const std::string& one) {
      return one == fault.name || one.starts_with(fault.name + ",") ||
             one.starts_with(fault.name + ":");
    });
    all += view::csv_line({fault.usage, fault.title, on ? "yes" : "no", fault.reason});
  }
  return all;
}

void FaultsPanel::draw(Ui& ui) {
  follow(ui);
  const session::Snapshot& s = *ui.snapshot;
  ui.widgets.state("faults/before", before_);
  ui.widgets.state("faults/after", after_);
  ui.widgets.state("faults/difference", fmt::format("{}", diff_.first));
  ui.widgets.state("faults/error", ui.fault_request.error);
  if (s.model == nullptr) {
    empty_state(ui, "faults", "No model to break",
                "Open a model: known bugs can then be injected into its run, to see what they do "
                "and how they are found.");
    return;
  }
  if (s.model->faults.empty()) {
    empty_state(ui, "faults", "No fault is known for this model",
                s.recording != nullptr
                    ? "This is a recording: nothing runs that could be broken. Open its model."
                    : "");
    return;
  }
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const float gap = px(ui, 18.0F);
  const float left = room.x * 0.31F;
  const float middle = room.x * 0.26F;
  if (ImGui::BeginChild("list", {left, room.y})) {
    list(ui);
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("detail", {middle, room.y})) {
    detail(ui);
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("texts", {std::max(room.x - left - middle - 2.0F * gap, 1.0F), room.y})) {
    active(ui);
    texts(ui);
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_faults(std::shared_ptr<const TabTitles> titles) {
  return std::make_unique<FaultsPanel>(std::move(titles));
}

}  // namespace layerscope::gui

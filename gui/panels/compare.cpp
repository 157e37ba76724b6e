// Compare tab: a reference beside the session; where the two part, by how much, and why. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "gui/panels/actions.h"
#include "gui/panels/compare_parts.h"
#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/export_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

using session::CompareStage;

const char* stage_text(CompareStage stage) {
  switch (stage) {
    case CompareStage::kNone:
      return "none";
    case CompareStage::kReading:
      return "reading";
    case CompareStage::kNoTokens:
      return "no tokens";
    case CompareStage::kRecording:
      return "recording";
    case CompareStage::kComparing:
      return "comparing";
    case CompareStage::kDone:
      return "done";
    case CompareStage::kFailed:
      return "failed";
  }
  return "";
}

std::string file_name(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

class ComparePanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "compare"; }
  [[nodiscard]] const char* title() const override { return "Compare"; }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  void summary(Ui& ui);
  void reference(Ui& ui);
  void verdict(Ui& ui);
  static void working(Ui& ui);
  void actions(Ui& ui);
  void publish(Ui& ui) const;

  CompareDrawing drawing_;
};

void ComparePanel::reference(Ui& ui) {
  const Palette& c = colors(ui);
  session::ComparedSession& compared = *ui.compared;
  section_title(ui, "Reference");
  if (!compared.reference_path().empty()) {
    subtitle(ui, view::cut_text(file_name(compared.reference_path()), 34));
    tip(compared.reference_path());
  }
  if (button(ui, "compare/choose", compared.reference_path().empty() ? "Choose…" : "Another…",
             compared.reference_path().empty() ? Look::kPrimary : Look::kPlain,
             "A trace of another run or engine (safetensors, eval-callback text, npz, npy, JSON "
             "lines, transformers debug tree, logits), or a second model file, which then runs on "
             "the same tokens")) {
    ui.requests.open_reference_dialog = true;
  }
  if (!compared.reference_path().empty()) {
    ImGui::SameLine(0.0F, px(ui, 6.0F));
    if (button(ui, "compare/again", "Compare again",
               compared.stale() ? Look::kPrimary : Look::kPlain,
               "With the present tokens and faults", !compared.busy())) {
      compared.compare_again();
    }
    ImGui::SameLine(0.0F, px(ui, 6.0F));
    if (button(ui, "compare/drop", "Drop", Look::kLink, "Leave the comparison")) {
      compared.drop_reference();
    }
  }
  if (compared.stale()) {
    text(c.warn, "Tokens or faults have changed since.");
  }
}

void ComparePanel::working(Ui& ui) {
  const Palette& c = colors(ui);
  const session::ComparedSession& compared = *ui.compared;
  const int permille = compared.compare_progress().permille;
  const std::string what = compared.stage() == CompareStage::kReading && permille < 0
                               ? "reading the reference"
                           : compared.stage() == CompareStage::kRecording
                               ? "evaluating the tokens again with every tensor"
                               : compared.compare_progress().what.load();
  const std::string bar = permille >= 0 ? fmt::format("{}…  {:.0f} %", what, permille / 10.0)
                                        : fmt::format("{}…", what);
  text(c.quiet, bar);
  ui.widgets.mark("compare/working");
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  if (button(ui, "compare/cancel", "Cancel", Look::kLink, "Stop what is at work")) {
    ui.compared->cancel();
  }
  ui.requests.redraw = true;
}

void ComparePanel::verdict(Ui& ui) {
  const Palette& c = colors(ui);
  const session::ComparedSession& compared = *ui.compared;
  ImGui::PushTextWrapPos();
  if (compared.stage() == CompareStage::kNoTokens) {
    text(c.quiet, "The reference is read. Nothing is evaluated here yet: feed it the same tokens.");
  }
  if (!compared.problem().empty()) {
    text(c.error, compared.problem());
    ui.widgets.mark("compare/problem");
  }
  if (const auto& r = drawing_.result; r != nullptr) {
    const compare::Comparison& comparison = r->comparison;
    text(comparison.diverges() ? c.warn : c.good,
         (comparison.diverges() ? "≠  " : "=  ") + r->verdict);
    ui.widgets.mark("compare/verdict");
    for (const std::string& note : comparison.notes) {
      text(c.quiet, note);
    }
  }
  ImGui::PopTextWrapPos();
}

void ComparePanel::actions(Ui& ui) {
  session::ComparedSession& compared = *ui.compared;
  const auto& r = drawing_.result;
  const bool tokens_differ = r != nullptr && r->comparison.tokens.has_value();
  const bool no_tokens = compared.stage() == CompareStage::kNoTokens;
  const bool live = compared.candidate()->recording == nullptr && has_model(ui);
  if ((tokens_differ || no_tokens || compared.stale()) && live) {
    if (button(ui, "compare/feed", "Feed B's tokens here",
               compared.stale() ? Look::kPlain : Look::kPrimary,
               "Evaluates the reference's token ids in this session and compares",
               !compared.busy())) {
      compared.feed_reference_tokens();
    }
  }
  if (r == nullptr) {
    return;
  }
  if (r->comparison.first) {
    if (button(ui, "compare/first", "Go to the first divergence", Look::kPrimary,
               "Selects its layer, head, token and tensor in every panel")) {
      go_to_pair(ui, r->comparison.pairs[*r->comparison.first]);
    }
  }
  const bool model = !compared.model().path.empty();
  const std::string needs = model ? "" : "\nNeeds the model: open it first, then the trace.";
  if (r->comparison.diverges()) {
    if (button(ui, "compare/explain", "Explain", Look::kPlain,
               "Runs the model with every known fault on the same tokens and ranks those that "
               "reproduce A's numbers" +
                   needs,
               model && !compared.busy())) {
      compared.explain();
    }
    ImGui::SameLine(0.0F, px(ui, 6.0F));
    if (button(ui, "compare/bisect", "Bisect", Look::kPlain,
               "Puts B's input into one layer after another to find the last wrong one" + needs,
               model && !compared.busy() && !r->comparison.tokens)) {
      compared.bisect();
    }
  }
  ImGui::PushTextWrapPos();
  const auto say = [&](const std::vector<std::string>& lines, const char* id) {
    for (std::size_t i = 0; i < lines.size(); ++i) {
      text(colors(ui).text, lines[i]);
      ui.widgets.mark(fmt::format("compare/{}/{}", id, i));
      ui.widgets.state(fmt::format("compare/{}/{}", id, i), lines[i]);
    }
  };
  say(view::explanation_lines(*r), "explanation");
  say(view::splice_lines(*r), "splice");
  ImGui::PopTextWrapPos();
}

void ComparePanel::summary(Ui& ui) {
  reference(ui);
  if (ui.compared->busy()) {
    working(ui);
  }
  verdict(ui);
  actions(ui);
}

void ComparePanel::publish(Ui& ui) const {
  const session::ComparedSession& compared = *ui.compared;
  ui.widgets.state("compare/stage", stage_text(compared.stage()));
  ui.widgets.state("compare/reference", file_name(compared.reference_path()));
  ui.widgets.state("compare/problem", compared.problem());
  ui.widgets.state("compare/stale", compared.stale() ? "yes" : "no");
  ui.widgets.state("compare/side", session::side_name(compared.side()));
  const auto& r = drawing_.result;
  ui.widgets.state("compare/verdict", r != nullptr ? r->verdict : "");
  ui.widgets.state("compare/diverges", r == nullptr ? "" : r->comparison.diverges() ? "yes" : "no");
  ui.widgets.state("compare/pairs", std::to_string(r != nullptr ? r->comparison.pairs.size() : 0));
  ui.widgets.state("compare/explained", r != nullptr && r->explained ? "yes" : "no");
  ui.widgets.state("compare/unmatched", std::to_string(drawing_.unmatched.size()));
}

void ComparePanel::draw(Ui& ui) {
  if (ui.compared == nullptr) {
    empty_state(ui, "compare", "No comparison here", "This window has no session to compare.");
    return;
  }
  drawing_.follow(ui.compared->result());
  publish(ui);
  if (ui.compared->reference_path().empty()) {
    const bool ready = ui.snapshot->model != nullptr;
    empty_state(ui, "compare", "Nothing to compare with yet",
                ready ? "Choose a reference: a trace, another engine's log or dump, or a second "
                        "model file. Where the two part first, in which layer the error is added, "
                        "and which known bug explains it then stands here."
                      : "Open a model or a trace first (Ctrl+O); then choose what to compare it "
                        "with.");
    const float width = button_size(ui, "Choose a reference…").x;
    ImGui::SetCursorPosX(std::max(0.0F, (ImGui::GetWindowWidth() - width) / 2.0F));
    ImGui::SetCursorPosY(
        std::max(ImGui::GetCursorPosY() + px(ui, 4.0F),
                 ImGui::GetWindowHeight() - 2.0F * ImGui::GetFrameHeightWithSpacing()));
    if (button(ui, "compare/choose", "Choose a reference…", Look::kPrimary, "", ready)) {
      ui.requests.open_reference_dialog = true;
    }
    return;
  }
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const float gap = px(ui, 16.0F);
  const float left = std::clamp(room.x * 0.28F, px(ui, 250.0F), px(ui, 460.0F));
  const float middle = std::clamp(room.x * 0.32F, px(ui, 260.0F), px(ui, 620.0F));
  if (ImGui::BeginChild("summary", {left, room.y})) {
    summary(ui);
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("taps", {middle, room.y})) {
    draw_compare_list(ui, drawing_);
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("side", {0.0F, room.y})) {
    draw_compare_side(ui, drawing_);
  }
  ImGui::EndChild();
}

std::string ComparePanel::csv(const Ui& /*ui*/) const {
  if (drawing_.result == nullptr) {
    return {};
  }
  std::string all = "pass,tap,layer,position,head,channel,max_abs,rel_l2,cosine,excess,diverges\n";
  for (const compare::Pair& pair : drawing_.result->comparison.pairs) {
    const compare::Difference& d = pair.difference;
    all += fmt::format("{},{},{},{},{},{},{:.9g},{:.9g},{:.9g},{:.6g},{}\n", pair.pass,
                       capture::tap_name(pair.tap), pair.layer, d.position, d.head, d.channel,
                       d.max_abs, d.rel_l2, d.cosine, d.excess, d.diverges() ? "yes" : "no");
  }
  return all;
}

}  // namespace

void CompareDrawing::follow(const std::shared_ptr<const session::ComparisonResult>& now) {
  if (now == result) {
    return;
  }
  result = now;
  ++version;
  map = {};
  lines = {};
  unmatched.clear();
  if (result != nullptr) {
    map = view::error_map(result->comparison);
    lines = view::block_lines(result->comparison);
    unmatched = view::unmatched_lines(result->comparison);
  }
  list_again();
}

void CompareDrawing::list_again() {
  rows = result != nullptr ? view::pair_rows(result->comparison, only_diverging, search)
                           : std::vector<view::PairRow>();
}

std::unique_ptr<Panel> make_compare() { return std::make_unique<ComparePanel>(); }

}  // namespace layerscope::gui

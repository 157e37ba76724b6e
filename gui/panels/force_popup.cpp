#include "gui/panels/force_popup.h"

#include <fmt/format.h>

#include "gui/panels/actions.h"
#include "gui/panels/widgets.h"
#include "gui/view/frames.h"
#include "gui/view/text.h"
#include "gui/view/vocabulary.h"

namespace layerscope::gui {

void ForcePopup::open(int position) {
  position_ = position;
  search_.clear();
  searched_.clear();
  found_.clear();
  opening_ = true;
}

void ForcePopup::candidate(Ui& ui, std::int32_t id, const capture::LogitSummary* summary) {
  const Palette& c = colors(ui);
  const tokenizer::Tokenizer* tokenizer = tokenizer_of(ui);
  ImGui::PushID(id);
  if (ImGui::Selectable("##candidate", false, ImGuiSelectableFlags_SpanAllColumns)) {
    branch_after(ui, position_, id);
    ImGui::CloseCurrentPopup();
  }
  ui.widgets.mark(fmt::format("force/candidate/{}", id));
  ImGui::PopID();
  ImGui::SameLine(0.0F, 0.0F);
  mono(ui, c.text, view::cut_text(view::quoted_token(tokenizer, id), 28));
  float prob = -1.0F;
  if (summary != nullptr) {
    for (const capture::TopToken& token : summary->top) {
      prob = token.id == id ? token.prob : prob;
    }
  }
  const float right = right_edge();
  mono_right(ui, c.quiet, fmt::format("#{}", id), right - px(ui, 74.0F));
  mono_right(ui, prob >= 0.0F ? c.text : c.faint,
             prob >= 0.0F ? view::percent_text(double{prob}) : "·", right);
}

void ForcePopup::draw(Ui& ui) {
  if (opening_) {
    ImGui::OpenPopup("force");
    opening_ = false;
  }
  ImGui::SetNextWindowSize({px(ui, 360.0F), px(ui, 380.0F)});
  if (!begin_popup("force")) {
    return;
  }
  const Palette& c = colors(ui);
  const tokenizer::Tokenizer* tokenizer = tokenizer_of(ui);
  const capture::TokenFrame* before = ui.snapshot->frame(position_);
  section_title(ui, "Force another token");
  text(c.quiet, fmt::format("after {}; later tokens are dropped", token_label(ui, position_)));
  if (ImGui::IsWindowAppearing()) {
    ImGui::SetKeyboardFocusHere();
  }
  search_field(ui, "force/search", search_, "search text or #id", -1.0F);
  if (search_ != searched_) {
    searched_ = search_;
    found_ = tokenizer != nullptr ? view::search_vocabulary(*tokenizer, search_, 200)
                                  : std::vector<std::int32_t>{};
  }
  const capture::LogitSummary* summary =
      before != nullptr && before->logits ? &*before->logits : nullptr;
  if (ImGui::BeginChild("candidates")) {
    const FontScope font(ui.fonts.mono);
    if (!search_.empty()) {
      for (const std::int32_t id : found_) {
        candidate(ui, id, summary);
      }
      if (found_.empty()) {
        text(c.quiet, "No token of the vocabulary has that text or id.");
      }
    } else if (summary != nullptr) {
      for (const capture::TopToken& token : summary->top) {
        candidate(ui, token.id, summary);
      }
    } else {
      text(c.quiet, "No distribution was computed here. Search the vocabulary.");
    }
  }
  ImGui::EndChild();
  ImGui::EndPopup();
}

}  // namespace layerscope::gui

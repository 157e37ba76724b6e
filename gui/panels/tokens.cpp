// Left panel: the prompt, the stream of tokens as chips, and a card about the selected one. UI
// thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/utf8.h"
#include "gui/panels/actions.h"
#include "gui/panels/branches.h"
#include "gui/panels/diagnosis.h"
#include "gui/panels/force_popup.h"
#include "gui/panels/panels.h"
#include "gui/panels/prompt.h"
#include "gui/panels/widgets.h"
#include "gui/view/color_map.h"
#include "gui/view/export_text.h"
#include "gui/view/frames.h"
#include "gui/view/text.h"
#include "gui/view/token_layout.h"
#include "gui/view/token_search.h"

namespace layerscope::gui {
namespace {

constexpr std::array<const char*, 4> kColorNames{"probability", "entropy", "rank", "finding"};

const char* origin_text(capture::Origin origin) {
  switch (origin) {
    case capture::Origin::kPrompt:
      return "prompt";
    case capture::Origin::kSampled:
      return "sampled";
    case capture::Origin::kForced:
      return "forced by hand";
  }
  return "";
}

class TokensPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "tokens"; }
  [[nodiscard]] const char* title() const override { return "Prompt and tokens"; }
  void draw(Ui& ui) override;

 private:
  void stream(Ui& ui, float height);
  void chips(Ui& ui);
  void draw_chip(Ui& ui, int position, ImVec2 origin, float line_height, float chip_height);
  void hover(Ui& ui, int position);
  void context_menu(Ui& ui);
  void card(Ui& ui);
  void publish(Ui& ui);
  void search(Ui& ui);
  [[nodiscard]] std::string csv(const Ui& ui) const override;

  PromptSection prompt_;
  ForcePopup force_;
  view::TokenLayout layout_;
  int menu_position_ = -1;
  int shown_count_ = 0;
  int shown_lines_ = 0;
  int scrolled_to_ = -1;
  std::string needle_;
  bool searching_ = false;
  std::vector<view::TokenMatch> matches_;
  std::uint64_t matches_version_ = 0;
  double matched_at_ = -1.0;  ///< seconds
  std::size_t match_ = 0;     ///< the one gone to
  std::uint64_t text_version_ = 0;
  std::string text_;
  int text_first_ = 0;  ///< its first token
  view::FrameCursor text_frames_;
  const tokenizer::Tokenizer* text_tokenizer_ = nullptr;
};

void TokensPanel::hover(Ui& ui, int position) {
  const FontScope font(ui.fonts.regular);
  if (!ImGui::BeginTooltip()) {
    return;
  }
  const capture::TokenFrame* frame = ui.snapshot->frame(position);
  const std::int32_t id = view::token_id(*ui.snapshot, position);
  mono(ui, colors(ui).text, view::quoted_token(tokenizer_of(ui), id));
  if (const tokenizer::Tokenizer* tokenizer = tokenizer_of(ui)) {
    fact(ui, "piece", utf8_escape(tokenizer->piece(id)));
  }
  fact(ui, "id", fmt::format("{}", id));
  fact(ui, "position", fmt::format("{}", position));
  if (frame == nullptr) {
    text(colors(ui).quiet, "not evaluated yet");
  } else {
    fact(ui, "origin", origin_text(frame->choice.origin));
    if (frame->choice.known) {
      const capture::Choice& choice = frame->choice;
      fact(ui, "probability", view::percent_text(double{choice.prob}));
      fact(ui, "logit", view::number_text(double{choice.logit}));
      fact(ui, "rank", fmt::format("{}", choice.rank + 1));
      fact(ui, "entropy", fmt::format("{} bit", view::number_text(double{choice.entropy})));
    } else {
      text(colors(ui).quiet, "no distribution before this token");
    }
    fact(ui, "evaluation", fmt::format("{:.2f} ms", frame->eval_ms));
  }
  badge_line(ui, ui.badges.token(position));
  ImGui::EndTooltip();
}

void TokensPanel::draw_chip(Ui& ui, int position, ImVec2 origin, float line_height,
                            float chip_height) {
  const Palette& c = colors(ui);
  const view::ChipPlace& place = layout_.place(position);
  const view::ChipText& chip = layout_.text(position);
  const ImVec2 min{origin.x + place.x, origin.y + static_cast<float>(place.line) * line_height};
  const ImVec2 max{min.x + place.width, min.y + chip_height};
  const capture::TokenFrame* frame = ui.snapshot->frame(position);
  const auto mode = static_cast<view::TokenColor>(std::clamp(ui.settings.token_color, 0, 3));
  const float surprise = frame != nullptr ? view::token_surprise(frame->choice, mode) : -1.0F;
  const bool prompt = frame == nullptr || frame->choice.origin == capture::Origin::kPrompt;
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const float round = px(ui, 3.0F);
  ImU32 fill = c.card;
  ImU32 ink = frame == nullptr ? c.faint : (chip.control ? c.quiet : c.text);
  if (surprise >= 0.0F) {
    const ImU32 hue =
        to_color(view::sample_color_map(ColorMap::kViridis, 0.72F - 0.62F * surprise));
    fill = mix(c.card, hue, prompt ? 0.22F : 0.52F);
  } else if (chip.control) {
    fill = mix(c.panel, c.card, 0.6F);
  }
  const view::Badge* badge = ui.badges.token(position);
  if (badge != nullptr && mode == view::TokenColor::kFinding) {
    fill = mix(c.card, severity_color(ui, badge->severity), 0.45F);
  }
  draw->AddRectFilled(min, max, fill, round);
  if (surprise >= 0.0F && !prompt) {
    // The same value as a length, for eyes that do not tell the colours apart.
    const float length = (place.width - 2.0F * round) * (1.0F - surprise);
    draw->AddRectFilled({min.x + round, max.y - px(ui, 2.0F)}, {min.x + round + length, max.y},
                        mix(fill, c.text, 0.45F));
  }
  // The matches are in order: only those around the chip are looked at.
  auto match = std::lower_bound(matches_.begin(), matches_.end(), position,
                                [](const view::TokenMatch& one, int at) { return one.last < at; });
  for (; match != matches_.end() && match->first <= position; ++match) {
    if (position <= match->last) {
      draw->AddRect({min.x - 1.0F, min.y - 1.0F}, {max.x + 1.0F, max.y + 1.0F}, c.text, round, 0,
                    px(ui, 1.0F));
    }
  }
  const bool selected = position == ui.shown_position();
  if (selected) {
    draw->AddRect(min, max, c.accent, round, 0, px(ui, 2.0F));
  } else if (frame != nullptr && frame->choice.origin == capture::Origin::kForced) {
    draw->AddRect(min, max, c.warn, round, 0, px(ui, 1.0F));
  }
  draw->PushClipRect(min, max, true);
  draw->AddText({min.x + px(ui, 4.0F), min.y + (chip_height - ImGui::GetTextLineHeight()) / 2.0F},
                ink, chip.text.c_str());
  draw->PopClipRect();
  if (badge != nullptr) {
    draw_badge(ui, fmt::format("tokens/badge/{}", position),
               {max.x - px(ui, 2.0F), min.y + px(ui, 2.0F)}, px(ui, 4.5F), badge->severity);
  }
  ui.widgets.mark_rect(fmt::format("tokens/{}", position), min, max);
}

void TokensPanel::stream(Ui& ui, float height) {
  const bool open = ImGui::BeginChild("stream", {0.0F, height}, ImGuiChildFlags_None);
  if (!open) {
    ImGui::EndChild();
    return;
  }
  if (view::token_count(*ui.snapshot) == 0) {
    empty_until_run(ui, "tokens", has_model(ui) ? "No tokens yet" : "No model is open",
                    has_model(ui)
                        ? "Write a prompt above and press Ctrl+Enter, or Step (F10) for one token."
                        : "Open one with Ctrl+O or drop a .gguf file on the window.");
  } else {
    chips(ui);
  }
  ImGui::EndChild();
}

void TokensPanel::chips(Ui& ui) {
  const FontScope font(ui.fonts.mono);
  const float chip_height = ImGui::GetTextLineHeight() + px(ui, 6.0F);
  const float line_height = chip_height + px(ui, 4.0F);
  const float width = ImGui::GetContentRegionAvail().x - px(ui, 10.0F);
  layout_.update(*ui.snapshot, tokenizer_of(ui),
                 {std::max(width, px(ui, 40.0F)), px(ui, 6.0F), px(ui, 1.0F), px(ui, 4.0F)},
                 [](const std::string& value) { return ImGui::CalcTextSize(value.c_str()).x; });
  const ImVec2 window = ImGui::GetWindowPos();
  ui.widgets.mark_rect("tokens/stream", window,
                       {window.x + ImGui::GetWindowWidth(), window.y + ImGui::GetWindowHeight()});
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  const float total = static_cast<float>(layout_.lines()) * line_height;
  ImGui::InvisibleButton("chips", {std::max(width, 1.0F), std::max(total, 1.0F)});
  const bool hovered = ImGui::IsItemHovered();
  const ImVec2 mouse = ImGui::GetIO().MousePos;
  const float top = ImGui::GetWindowPos().y - origin.y;
  const int first_line = std::clamp(static_cast<int>(top / line_height), 0, layout_.lines());
  const int last_line = std::min(
      static_cast<int>((top + ImGui::GetWindowHeight()) / line_height) + 1, layout_.lines());
  int under = -1;
  for (int position = layout_.line_first(first_line); position < layout_.line_first(last_line);
       ++position) {
    draw_chip(ui, position, origin, line_height, chip_height);
    const view::ChipPlace& place = layout_.place(position);
    const float x = mouse.x - origin.x - place.x;
    const float y = mouse.y - origin.y - static_cast<float>(place.line) * line_height;
    if (hovered && x >= 0.0F && x < place.width && y >= 0.0F && y < chip_height) {
      under = position;
    }
  }
  if (under >= 0) {
    if (ImGui::IsMouseClicked(ImGuiMouseButton_Left) && under < ui.snapshot->n_frames) {
      // Clicking the newest token goes back to following.
      select_position(ui, under == ui.snapshot->n_frames - 1 ? -1 : under);
    } else if (ImGui::IsMouseClicked(ImGuiMouseButton_Right) && under < ui.snapshot->n_frames) {
      menu_position_ = under;
      ImGui::OpenPopup("token menu");
    }
    hover(ui, under);
  }
  const int shown = ui.shown_position();
  const bool more = layout_.size() != shown_count_ || layout_.lines() != shown_lines_;
  if (shown >= 0 && shown < layout_.size() && (shown != scrolled_to_ || more)) {
    const float y = static_cast<float>(layout_.place(shown).line) * line_height;
    const float from = ImGui::GetScrollY();
    if (y < from || y + line_height > from + ImGui::GetWindowHeight()) {
      ImGui::SetScrollY(y - ImGui::GetWindowHeight() * 0.7F);
    }
    scrolled_to_ = shown;
    shown_count_ = layout_.size();
    shown_lines_ = layout_.lines();
  }
  context_menu(ui);
}

void TokensPanel::context_menu(Ui& ui) {
  const FontScope font(ui.fonts.regular);
  if (!begin_popup("token menu")) {
    return;
  }
  const int last = ui.snapshot->n_frames - 1;
  const int position = std::min(menu_position_, last);
  text(colors(ui).quiet, token_label(ui, position));
  ImGui::Separator();
  if (ImGui::MenuItem("Rewind to here", nullptr, false, position < last)) {
    rewind_to(ui, position);
  }
  ui.widgets.mark("tokens/menu/rewind");
  if (ImGui::MenuItem("Force another token…", nullptr, false, position > 0)) {
    force_.open(position - 1);
  }
  ui.widgets.mark("tokens/menu/force");
  ImGui::Separator();
  const int first_new = ui.snapshot->n_prompt();
  if (ImGui::MenuItem("Copy text up to here")) {
    ImGui::SetClipboardText(view::tokens_text(*ui.snapshot, tokenizer_of(ui), 0, position).c_str());
  }
  ui.widgets.mark("tokens/menu/copy");
  if (ImGui::MenuItem("Copy ids up to here")) {
    ImGui::SetClipboardText(view::tokens_ids(*ui.snapshot, 0, position).c_str());
  }
  ui.widgets.mark("tokens/menu/copy ids");
  if (ImGui::MenuItem("Copy generated text", nullptr, false, last >= first_new)) {
    ImGui::SetClipboardText(
        view::tokens_text(*ui.snapshot, tokenizer_of(ui), first_new, last).c_str());
  }
  ui.widgets.mark("tokens/menu/copy generated");
  ImGui::EndPopup();
}

void TokensPanel::card(Ui& ui) {
  const Palette& c = colors(ui);
  const int position = ui.shown_position();
  const capture::TokenFrame* frame = ui.shown_frame();
  ImGui::PushStyleColor(ImGuiCol_ChildBg, c.card);
  ImGui::PushStyleVar(ImGuiStyleVar_ChildRounding, px(ui, 4.0F));
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {px(ui, 10.0F), px(ui, 6.0F)});
  if (ImGui::BeginChild("card", {0.0F, 0.0F}, ImGuiChildFlags_AlwaysUseWindowPadding,
                        ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse) &&
      frame != nullptr) {
    mono(ui, c.text, view::cut_text(view::quoted_token(tokenizer_of(ui), frame->id), 24));
    ImGui::SameLine(0.0F, px(ui, 8.0F));
    const std::string place = fmt::format("id {} · position {}", frame->id, position);
    text(c.quiet, place);
    if (ui.selection.position < 0) {
      ImGui::SameLine(0.0F, 0.0F);
      const char* newest = " · newest";
      if (ImGui::CalcTextSize(newest).x < ImGui::GetContentRegionAvail().x) {
        text(c.quiet, newest);
      } else {
        ImGui::NewLine();
      }
    }
    if (frame->choice.known) {
      const capture::Choice& choice = frame->choice;
      const auto pair = [&](const char* name, const std::string& value, bool first = false) {
        if (!first) {
          ImGui::SameLine(0.0F, px(ui, 10.0F));
        }
        const float needed = ImGui::CalcTextSize((name + value).c_str()).x + px(ui, 6.0F);
        if (needed > ImGui::GetContentRegionAvail().x) {
          ImGui::NewLine();
          return;
        }
        text(c.quiet, name);
        ImGui::SameLine(0.0F, px(ui, 4.0F));
        mono(ui, c.text, value);
      };
      pair("p", fmt::format("{:.3f}", choice.prob), true);
      pair("logit", fmt::format("{:.2f}", choice.logit));
      pair("rank", fmt::format("{}", choice.rank + 1));
      pair("H", fmt::format("{:.1f} bit", choice.entropy));
    } else {
      text(c.quiet, fmt::format("{}: its own probability was not computed",
                                origin_text(frame->choice.origin)));
    }
    // Narrow panels get the short words.
    const bool chosen = ui.selection.position >= 0;
    const float words = ImGui::CalcTextSize("Rewind hereForce another…Follow newest").x;
    const bool brief = chosen && words + px(ui, 28.0F) > ImGui::GetContentRegionAvail().x;
    if (button(ui, "tokens/card/rewind", brief ? "Rewind" : "Rewind here", Look::kLink,
               "Drop every later token", position < ui.snapshot->n_frames - 1)) {
      rewind_to(ui, position);
    }
    ImGui::SameLine(0.0F, px(ui, 14.0F));
    if (button(ui, "tokens/card/force", brief ? "Force…" : "Force another…", Look::kLink,
               "Choose another token for this place", position > 0)) {
      force_.open(position - 1);
    }
    if (chosen) {
      ImGui::SameLine(0.0F, px(ui, 14.0F));
      if (button(ui, "tokens/card/follow", brief ? "Follow" : "Follow newest", Look::kLink,
                 "Let every panel follow the newest token")) {
        select_position(ui, -1);
      }
    }
  }
  ImGui::EndChild();
  ImGui::PopStyleVar(2);
  ImGui::PopStyleColor();
}

void TokensPanel::search(Ui& ui) {
  if (ui.focus_search) {
    searching_ = true;
  }
  if (!searching_) {
    return;
  }
  const Palette& c = colors(ui);
  if (ui.focus_search) {
    ImGui::SetKeyboardFocusHere();
    ui.focus_search = false;
  }
  const float width = ImGui::GetContentRegionAvail().x - px(ui, 110.0F);
  const bool changed = search_field(ui, "tokens/search", needle_, "find in the text",
                                    std::max(width, px(ui, 60.0F)));
  const bool active = ImGui::IsItemActive();
  // The whole text is read for it: some milliseconds for 32k tokens, so not with each of them.
  const double now = ImGui::GetTime();
  const bool stale = matches_version_ != ui.snapshot->version;
  ui.requests.redraw = ui.requests.redraw || (stale && !needle_.empty());
  if (changed || (stale && (!is_busy(ui) || now - matched_at_ > 0.5))) {
    matched_at_ = now;
    matches_ = view::find_in_tokens(*ui.snapshot, tokenizer_of(ui), needle_);
    matches_version_ = ui.snapshot->version;
    if (changed) {
      match_ = 0;
    }
  }
  const bool next = ImGui::IsItemDeactivated() && ImGui::IsKeyPressed(ImGuiKey_Enter);
  if ((changed || next) && !matches_.empty()) {
    match_ = next ? (match_ + 1) % matches_.size() : 0;
    const int position = matches_[match_].first;
    select_position(ui, position >= ui.snapshot->n_frames - 1 ? -1 : position);
  }
  if (next) {
    ui.focus_search = true;
  }
  ui.widgets.state("tokens/matches", fmt::format("{}", matches_.size()));
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  ImGui::AlignTextToFramePadding();
  text(matches_.empty() && !needle_.empty() ? c.warn : c.quiet,
       needle_.empty()    ? "Enter: next"
       : matches_.empty() ? "nothing"
                          : fmt::format("{} of {}", match_ + 1, matches_.size()));
  ImGui::SameLine(std::max(0.0F, right_edge() - ImGui::CalcTextSize("✕").x));
  if (button(ui, "tokens/search/close", "✕", Look::kLink, "Close the search  ·  Esc") ||
      (active && ImGui::IsKeyPressed(ImGuiKey_Escape, false))) {
    searching_ = false;
    needle_.clear();
    matches_.clear();
  }
}

std::string TokensPanel::csv(const Ui& ui) const {
  const session::Snapshot& s = *ui.snapshot;
  if (s.n_frames == 0) {
    return {};
  }
  std::string all = "position,id,token,origin,probability,logit,rank,entropy_bits,eval_ms\n";
  for (int p = 0; p < s.n_frames; ++p) {
    const capture::TokenFrame& f = *s.frame(p);
    const auto known = [&f](const std::string& value) { return f.choice.known ? value : ""; };
    all += view::csv_line(
        {fmt::format("{}", p), fmt::format("{}", f.id), view::quoted_token(tokenizer_of(ui), f.id),
         origin_text(f.choice.origin), known(fmt::format("{:.9g}", f.choice.prob)),
         known(fmt::format("{:.9g}", f.choice.logit)), known(fmt::format("{}", f.choice.rank + 1)),
         known(fmt::format("{:.6g}", f.choice.entropy)), fmt::format("{:.4f}", f.eval_ms)});
  }
  return all;
}

void TokensPanel::publish(Ui& ui) {
  const session::Snapshot& s = *ui.snapshot;
  ui.widgets.state("tokens/count", fmt::format("{}", s.n_frames));
  ui.widgets.state("tokens/prompt", fmt::format("{}", s.n_prompt()));
  ui.widgets.state("tokens/generated", fmt::format("{}", s.n_generated));
  ui.widgets.state("tokens/selected", fmt::format("{}", ui.shown_position()));
  if (s.version != text_version_) {
    // A script reads the end of it. What was decoded is kept; the beginning moves in large steps.
    constexpr int kStep = 1024;
    const int generated = std::max(s.n_generated, 0);
    const int first =
        std::max(0, s.n_frames - generated) + std::max(0, generated / kStep - 1) * kStep;
    const tokenizer::Tokenizer* tokenizer = tokenizer_of(ui);
    const bool goes_on = first == text_first_ && text_frames_.size() <= s.n_frames &&
                         text_frames_.unchanged(s) == text_frames_.size() &&
                         text_frames_.size() >= first && tokenizer == text_tokenizer_;
    if (!goes_on) {
      text_.clear();
      text_first_ = first;
      text_tokenizer_ = tokenizer;
      text_frames_.truncate(0, s);
    }
    for (int i = text_frames_.size(); i < s.n_frames; ++i) {
      text_frames_.push(*s.frame(i));
      if (i >= first && tokenizer != nullptr) {
        text_ += tokenizer->decode(s.frame(i)->id);
      }
    }
    text_version_ = s.version;
  }
  ui.widgets.state("tokens/text", text_);
}

void TokensPanel::draw(Ui& ui) {
  prompt_.draw(ui);
  ImGui::Dummy({0.0F, px(ui, 4.0F)});
  section_title(ui, "Tokens");
  const std::string widest = "colour: probability ▾";
  ImGui::SameLine(std::max(0.0F, right_edge() - ImGui::CalcTextSize(widest.c_str()).x));
  combo(ui, "tokens/color", "colour: ", ui.settings.token_color, kColorNames.data(),
        static_cast<int>(kColorNames.size()));
  tip("What the colour of a token says; its bar says the same as a length");
  const bool with_card = ui.shown_frame() != nullptr;
  const float card_height = with_card ? ImGui::GetTextLineHeightWithSpacing() * 2.0F +
                                            button_size(ui, "X").y + px(ui, 14.0F)
                                      : 0.0F;
  const float spacing = ImGui::GetStyle().ItemSpacing.y;
  search(ui);
  const float branches = branches_height(ui);
  const float height = ImGui::GetContentRegionAvail().y - card_height - branches -
                       (with_card ? spacing : 0.0F) - (branches > 0.0F ? spacing : 0.0F);
  stream(ui, std::max(height, px(ui, 40.0F)));
  draw_branches(ui, branches);
  if (with_card) {
    card(ui);
  }
  force_.draw(ui);
  publish(ui);
}

}  // namespace

std::unique_ptr<Panel> make_tokens() { return std::make_unique<TokensPanel>(); }

}  // namespace layerscope::gui

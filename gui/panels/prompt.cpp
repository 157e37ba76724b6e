#include "gui/panels/prompt.h"

#include <fmt/format.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <span>

#include "engine/base/utf8.h"
#include "gui/panels/actions.h"
#include "gui/panels/widgets.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

std::string sampler_text(const session::SamplerSettings& s) {
  if (s.temperature <= 0.0F) {
    return "greedy";
  }
  return fmt::format("T {:.2g} · seed {}", s.temperature, s.seed);
}

/// Label on the left, control on the right, registered and explained.
template <typename Control>
bool setting(Ui& ui, const char* id, const char* label, const char* help, Control control) {
  ImGui::AlignTextToFramePadding();
  text(colors(ui).quiet, label);
  ImGui::SameLine(ImGui::GetFontSize() * 8.0F);
  ImGui::SetNextItemWidth(ImGui::GetFontSize() * 11.0F);
  ImGui::PushID(id);
  const bool changed = control();
  ImGui::PopID();
  ui.widgets.mark(id);
  tip(help);
  return changed;
}

}  // namespace

namespace {

/// A script reads the beginning of what is long: copying a prompt of 31,000 tokens and writing its
/// ids out took 2 ms of every frame.
constexpr std::size_t kMostStateBytes = 4096;
constexpr std::size_t kMostStateIds = 1024;

std::string beginning(const std::string& text) { return text.substr(0, kMostStateBytes); }

}  // namespace

void PromptSection::fed_popup(Ui& ui) {
  const Palette& c = colors(ui);
  const std::string& fed = ui.snapshot->fed_text;
  ImGui::SetNextWindowSizeConstraints({px(ui, 320.0F), 0.0F}, {px(ui, 640.0F), px(ui, 460.0F)});
  if (!begin_popup("fed text")) {
    return;
  }
  section_title(ui, "What is fed to the model");
  text(c.quiet, fmt::format("{} · {} tokens · {} bytes, special tokens by name",
                            ui.snapshot->chat ? "through the model's chat template" : "raw",
                            ui.snapshot->n_prompt(), fed.size()));
  ImGui::Separator();
  {
    const FontScope font(ui.fonts.mono);
    ImGui::PushTextWrapPos(px(ui, 600.0F));
    text(c.text, view::cut_text(utf8_sanitize(fed), 16384));
    ImGui::PopTextWrapPos();
  }
  const std::string ids = fmt::format("{}", fmt::join(ui.snapshot->prompt_ids, " "));
  ImGui::Separator();
  text(c.quiet, "as token ids");
  {
    const FontScope font(ui.fonts.mono);
    ImGui::PushTextWrapPos(px(ui, 600.0F));
    text(c.text, view::cut_text(ids, 16384));
    ImGui::PopTextWrapPos();
  }
  if (button(ui, "prompt/fed/copy", "Copy text")) {
    ImGui::SetClipboardText(fed.c_str());
  }
  ImGui::SameLine();
  if (button(ui, "prompt/fed/copy-ids", "Copy ids")) {
    ImGui::SetClipboardText(ids.c_str());
  }
  ImGui::EndPopup();
}

void PromptSection::sampling_popup(Ui& ui) {
  if (!begin_popup("sampling popup")) {
    draft_ = ui.snapshot->sampler;
    return;
  }
  section_title(ui, "Sampling");
  bool changed = false;
  bool greedy = draft_.temperature <= 0.0F;
  changed |= setting(ui, "sampling/greedy", "greedy", "Always the most likely token", [&] {
    const bool toggled = ImGui::Checkbox("##v", &greedy);
    if (toggled) {
      draft_.temperature = greedy ? 0.0F : 0.8F;
    }
    return toggled;
  });
  ImGui::BeginDisabled(greedy);
  changed |= setting(ui, "sampling/temperature", "temperature",
                     "Divides the logits: below 1 sharper, above 1 flatter. 0 is greedy.", [&] {
                       return ImGui::SliderFloat("##v", &draft_.temperature, 0.0F, 2.0F, "%.2f");
                     });
  changed |= setting(ui, "sampling/top-k", "top-k", "Only the k most likely tokens; 0 is off",
                     [&] { return ImGui::SliderInt("##v", &draft_.top_k, 0, 200); });
  changed |= setting(ui, "sampling/top-p", "top-p",
                     "The smallest set of tokens whose probabilities reach p; 1 is off",
                     [&] { return ImGui::SliderFloat("##v", &draft_.top_p, 0.0F, 1.0F, "%.2f"); });
  changed |= setting(ui, "sampling/min-p", "min-p",
                     "Tokens at least this fraction as likely as the best one; 0 is off",
                     [&] { return ImGui::SliderFloat("##v", &draft_.min_p, 0.0F, 1.0F, "%.2f"); });
  ImGui::EndDisabled();
  changed |= setting(ui, "sampling/repeat-penalty", "repeat penalty",
                     "Makes tokens of the last positions less likely; 1 is off", [&] {
                       return ImGui::SliderFloat("##v", &draft_.repeat_penalty, 0.5F, 2.0F, "%.2f");
                     });
  changed |= setting(ui, "sampling/seed", "seed",
                     "The draw is a function of seed and position: a rewind repeats it",
                     [&] { return ImGui::InputScalar("##v", ImGuiDataType_U64, &draft_.seed); });
  if (changed) {
    // Sliders can be typed into: what they hold may be out of range.
    draft_.temperature = std::clamp(draft_.temperature, 0.0F, 2.0F);
    draft_.top_k = std::max(draft_.top_k, 0);
    draft_.top_p = std::clamp(draft_.top_p, 0.01F, 1.0F);
    draft_.min_p = std::clamp(draft_.min_p, 0.0F, 1.0F);
    draft_.repeat_penalty = std::clamp(draft_.repeat_penalty, 0.1F, 2.0F);
    ui.send(session::SetSampler{draft_});
  }
  if (button(ui, "sampling/reset", "Defaults", Look::kPlain,
             "Greedy, everything else as llama.cpp")) {
    draft_ = {};
    ui.send(session::SetSampler{draft_});
  }
  ImGui::EndPopup();
}

bool PromptSection::editor(Ui& ui) {
  const Palette& c = colors(ui);
  const FontScope font(ui.fonts.mono);
  const float lines = ImGui::GetWindowHeight() > px(ui, 560.0F) ? 5.0F : 3.0F;
  const ImVec2 pad = ImGui::GetStyle().FramePadding;
  // The field does not wrap lines. While it is not edited, its text is hidden and drawn wrapped.
  ImGui::PushStyleColor(ImGuiCol_FrameBg, c.plot);
  ImGui::PushStyleColor(ImGuiCol_Text, editing_ ? c.text : 0U);
  const bool entered = ImGui::InputTextMultiline(
      "##prompt", &ui.prompt_text, {-1.0F, ImGui::GetTextLineHeight() * lines + pad.y * 2.0F},
      ImGuiInputTextFlags_EnterReturnsTrue);
  ImGui::PopStyleColor(2);
  ui.widgets.mark("prompt");
  tip(editing_ ? "" : "Ctrl+Enter feeds this text from token 0");
  editing_ = ImGui::IsItemActive();
  const ImVec2 min = ImGui::GetItemRectMin();
  const ImVec2 max = ImGui::GetItemRectMax();
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddRect(min, max, editing_ ? c.accent : c.border, ImGui::GetStyle().FrameRounding);
  if (!editing_) {
    const std::string shown = ui.prompt_text.empty() ? "What should the model go on from?"
                                                     : view::cut_text(ui.prompt_text, 2000);
    // Line by line: what does not fit ends with an ellipsis, not in the middle of a letter.
    const float width = max.x - min.x - 2.0F * pad.x;
    const auto most = static_cast<int>(lines);
    const char* at = shown.c_str();
    const char* const end = at + shown.size();
    for (int line = 0; line < most && at < end; ++line) {
      const char* stop =
          ImGui::GetFont()->CalcWordWrapPosition(ImGui::GetFontSize(), at, end, width);
      stop = std::min(std::max(stop, at + 1), std::find(at, end, '\n'));
      std::string words(at, stop);
      at = stop;
      while (at < end && (*at == ' ' || *at == '\n')) {
        if (*at++ == '\n') {
          break;
        }
      }
      if (line + 1 == most && at < end) {
        words += "…";
        words = fitted(words, width);
      }
      draw->AddText(
          {min.x + pad.x, min.y + pad.y + static_cast<float>(line) * ImGui::GetTextLineHeight()},
          ui.prompt_text.empty() ? c.faint : c.text, words.c_str());
    }
  }
  return entered;
}

void PromptSection::draw(Ui& ui) {
  const Palette& c = colors(ui);
  const session::Snapshot& s = *ui.snapshot;
  section_title(ui, "Prompt");
  if (prompt_edited(ui)) {
    const char* note = "edited · Ctrl+Enter applies";
    ImGui::SameLine(std::max(0.0F, right_edge() - ImGui::CalcTextSize(note).x));
    text(c.warn, note);
  }
  const bool entered = editor(ui);
  ui.widgets.state("prompt", beginning(ui.prompt_text));

  if (button(ui, "prompt/chat", "Chat", ui.prompt_chat ? Look::kOn : Look::kPlain,
             "The text becomes the user's message of the model's own chat template")) {
    ui.prompt_chat = true;
  }
  ImGui::SameLine(0.0F, px(ui, 4.0F));
  if (button(ui, "prompt/raw", "Raw", ui.prompt_chat ? Look::kPlain : Look::kOn,
             "The text is fed as it stands")) {
    ui.prompt_chat = false;
  }
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  if (button(ui, "prompt/apply", "Apply", prompt_edited(ui) ? Look::kPrimary : Look::kPlain,
             "Feed this prompt from token 0  ·  Ctrl+Enter in the editor", has_model(ui)) ||
      entered) {
    apply_prompt(ui);
  }
  const std::string sampling = sampler_text(s.sampler) + " ▾";
  const float link = ImGui::CalcTextSize(sampling.c_str()).x;
  const float right = right_edge();
  if (!s.fed_text.empty()) {
    ImGui::SameLine(0.0F, px(ui, 10.0F));
    const std::string fed = fmt::format("{} tokens", s.n_prompt());
    if (ImGui::GetCursorPosX() + ImGui::CalcTextSize(fed.c_str()).x + link + px(ui, 14.0F) <
        right) {
      if (button(ui, "prompt/fed", fed, Look::kLink,
                 "The exact text that was tokenised:\n" +
                     view::cut_text(utf8_escape(view::cut_text(s.fed_text, 600)), 900))) {
        ImGui::OpenPopup("fed text");
      }
    }
  }
  fed_popup(ui);
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  if (ImGui::GetCursorPosX() + link <= right) {
    ImGui::SetCursorPosX(right - link);
  } else {
    ImGui::NewLine();
  }
  if (button(ui, "sampling", sampling, Look::kLink, "How the next token is chosen")) {
    ImGui::OpenPopup("sampling popup");
  }
  sampling_popup(ui);
  ui.widgets.state("prompt/fed", beginning(s.fed_text));
  const std::size_t some = std::min(s.prompt_ids.size(), kMostStateIds);
  ui.widgets.state("prompt/ids",
                   fmt::format("{}", fmt::join(std::span(s.prompt_ids).first(some), " ")));
  ui.widgets.state("prompt/mode", ui.prompt_chat ? "chat" : "raw");
  ui.widgets.state("sampling/temperature", fmt::format("{:.2f}", s.sampler.temperature));
  ui.widgets.state("sampling/seed", fmt::format("{}", s.sampler.seed));
  ui.widgets.state("sampling/top-k", fmt::format("{}", s.sampler.top_k));
  ui.widgets.state("sampling/top-p", fmt::format("{:.2f}", s.sampler.top_p));
}

}  // namespace layerscope::gui

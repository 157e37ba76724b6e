#include "gui/panels/welcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "gui/panels/widgets.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

struct Hint {
  const char* what;
  const char* how;
};
constexpr std::array kHints{
    Hint{"Where the model looks", "every head's attention as a picture; click one for its map"},
    Hint{"In which layer the answer appears", "the logit lens, right of it"},
    Hint{"What is wrong, and why", "the Findings tab names bugs; Faults injects some to try"},
};

void centred(const ImVec2& start, float room, ImU32 color, std::string_view value) {
  const float width = ImGui::CalcTextSize(value.data(), value.data() + value.size()).x;
  ImGui::SetCursorPosX(start.x + std::max(0.0F, (room - width) / 2.0F));
  ImGui::PushTextWrapPos(start.x + room);
  text(color, value);
  ImGui::PopTextWrapPos();
}

void recent_files(Ui& ui, const ImVec2& start, float room) {
  constexpr std::size_t kShown = 4;
  for (std::size_t i = 0; i < std::min(ui.settings.recent.size(), kShown); ++i) {
    const std::string& path = ui.settings.recent[i];
    const std::string name = view::cut_text(path.substr(path.find_last_of('/') + 1), 48);
    ImGui::SetCursorPosX(start.x +
                         std::max(0.0F, (room - ImGui::CalcTextSize(name.c_str()).x) / 2.0F));
    if (button(ui, fmt::format("welcome/recent/{}", i), name, Look::kLink, path)) {
      ui.requests.open_path = path;
    }
  }
}

}  // namespace

void draw_welcome(Ui& ui) {
  const Palette& c = colors(ui);
  const bool loading = ui.snapshot->state == session::State::kLoading;
  const ImVec2 start = ImGui::GetCursorPos();
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const ImVec2 top = ImGui::GetCursorScreenPos();
  const float line = ImGui::GetTextLineHeightWithSpacing();
  const bool hints = room.y > line * 14.0F;
  ImGui::SetCursorPosY(start.y + std::max(0.0F, (room.y - line * (hints ? 15.0F : 6.0F)) * 0.4F));
  {
    const FontScope font(ui.fonts.bold, 1.7F);
    centred(start, room.x, c.text, "Layerscope");
  }
  centred(start, room.x, c.quiet, "See inside a language model while it runs, layer by layer.");
  ImGui::Dummy({0.0F, px(ui, 10.0F)});
  constexpr const char* kDemo = "Open the demo";
  constexpr const char* kOpen = "Open a model…";
  const bool demo = !ui.demo_path.empty();
  const float gap = px(ui, 10.0F);
  const float width = button_size(ui, kOpen).x + (demo ? button_size(ui, kDemo).x + gap : 0.0F);
  ImGui::SetCursorPosX(start.x + std::max(0.0F, (room.x - width) / 2.0F));
  if (demo) {
    if (button(ui, "welcome/demo", kDemo, Look::kPrimary,
               "A small model that writes haiku, with a prompt to begin with", !loading)) {
      ui.requests.open_demo = true;
    }
    ImGui::SameLine(0.0F, gap);
  }
  if (button(ui, "attention/open", kOpen, demo ? Look::kPlain : Look::kPrimary, "Ctrl+O",
             !loading)) {
    ui.requests.open_file_dialog = true;
  }
  ImGui::Dummy({0.0F, px(ui, 2.0F)});
  centred(start, room.x, c.quiet,
          loading ? "loading…" : "or drop a .gguf file on the window · Ctrl+P finds any command");
  recent_files(ui, start, room.x);
  if (hints) {
    ImGui::Dummy({0.0F, px(ui, 14.0F)});
    float widest = 0.0F;
    for (const Hint& hint : kHints) {
      widest = std::max(widest, ImGui::CalcTextSize(hint.what).x);
    }
    const float block = std::min(room.x, px(ui, 620.0F));
    for (const Hint& hint : kHints) {
      ImGui::SetCursorPosX(start.x + (room.x - block) / 2.0F);
      text(c.text, hint.what);
      ImGui::SameLine(start.x + (room.x - block) / 2.0F + widest + px(ui, 18.0F));
      ImGui::PushTextWrapPos(start.x + (room.x + block) / 2.0F);
      text(c.quiet, hint.how);
      ImGui::PopTextWrapPos();
    }
  }
  ui.widgets.mark_rect("attention/empty", top,
                       {top.x + std::max(room.x, 1.0F), ImGui::GetItemRectMax().y});
}

}  // namespace layerscope::gui

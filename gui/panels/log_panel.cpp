// Log tab: the program's own recent messages, with a level filter. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/base/log.h"
#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/export_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

constexpr std::array<const char*, 4> kLevels{"everything", "info and up", "warnings and errors",
                                             "errors"};
constexpr std::array<spdlog::level::level_enum, 4> kLowest{
    spdlog::level::trace, spdlog::level::info, spdlog::level::warn, spdlog::level::err};

class LogPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "log"; }
  [[nodiscard]] const char* title() const override { return "Log"; }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  int level_ = 1;
  std::string search_;
  std::size_t seen_ = 0;
};

std::string LogPanel::csv(const Ui& /*ui*/) const {
  std::string all = "level,message\n";
  for (const log::Line& line : log::recent()) {
    const spdlog::string_view_t level = spdlog::level::to_string_view(line.level);
    all += view::csv_line({{level.data(), level.size()}, line.text});
  }
  return all;
}

void LogPanel::draw(Ui& ui) {
  const Palette& c = colors(ui);
  std::vector<log::Line> lines = log::recent();
  std::erase_if(lines, [this](const log::Line& line) {
    return line.level < kLowest[static_cast<std::size_t>(level_)] ||
           !view::contains_ci(line.text, search_);
  });
  ImGui::AlignTextToFramePadding();
  combo(ui, "log/level", "show: ", level_, kLevels.data(), static_cast<int>(kLevels.size()));
  tip("Hides less important messages");
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  search_field(ui, "log/search", search_, "search", px(ui, 220.0F));
  ImGui::SameLine(0.0F, px(ui, 12.0F));
  if (button(ui, "log/copy", "Copy", Look::kPlain, "Copy the lines shown", !lines.empty())) {
    std::string all;
    for (const log::Line& line : lines) {
      all += line.text + "\n";
    }
    ImGui::SetClipboardText(all.c_str());
  }
  ui.widgets.state("log/lines", fmt::format("{}", lines.size()));
  if (lines.empty()) {
    empty_state(ui, "log", "Nothing to show",
                "Messages of loading, evaluation and the graphics device appear here.");
    return;
  }
  if (ImGui::BeginChild("lines", {0.0F, 0.0F}, ImGuiChildFlags_None,
                        ImGuiWindowFlags_HorizontalScrollbar)) {
    const FontScope font(ui.fonts.mono);
    const bool at_end = ImGui::GetScrollY() >= ImGui::GetScrollMaxY() - 1.0F;
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(lines.size()));
    while (clipper.Step()) {
      for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
        const log::Line& line = lines[static_cast<std::size_t>(i)];
        const ImU32 color = line.level >= spdlog::level::err    ? c.error
                            : line.level >= spdlog::level::warn ? c.warn
                            : line.level >= spdlog::level::info ? c.text
                                                                : c.quiet;
        text(color, line.text);  // begins with time and level
      }
    }
    if (at_end && lines.size() != seen_) {
      ImGui::SetScrollHereY(1.0F);
    }
    seen_ = lines.size();
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_log() { return std::make_unique<LogPanel>(); }

}  // namespace layerscope::gui

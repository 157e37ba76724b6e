#include "gui/app/palette.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "gui/app/theme.h"
#include "gui/panels/widgets.h"

namespace layerscope::gui {
namespace {

constexpr std::size_t kMostShown = 60;
constexpr const char* kTitle = "##palette";

char low(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

}  // namespace

int match_score(std::string_view needle, std::string_view text) {
  int score = 0;
  std::size_t at = 0;
  bool neighbour = false;
  for (const char wanted : needle) {
    if (wanted == ' ') {
      neighbour = false;
      continue;
    }
    bool found = false;
    for (; at < text.size(); ++at) {
      if (low(text[at]) == low(wanted)) {
        const bool begins = at == 0 || !std::isalnum(static_cast<unsigned char>(text[at - 1]));
        score += 1 + (neighbour ? 7 : 0) + (begins ? 6 : 0);
        found = true;
        neighbour = true;
        ++at;
        break;
      }
      neighbour = false;
    }
    if (!found) {
      return -1;
    }
  }
  // Short texts say more exactly what was meant.
  return score * 8 - std::min<int>(static_cast<int>(text.size()), 60) / 8;
}

std::vector<std::size_t> rank_entries(const std::vector<PaletteEntry>& entries,
                                      std::string_view needle, std::size_t most) {
  std::vector<std::pair<int, std::size_t>> scored;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const int score =
        needle.empty() ? 0 : match_score(needle, entries[i].group + " " + entries[i].text);
    const int alone = needle.empty() ? 0 : match_score(needle, entries[i].text);
    if (std::max(score, alone) >= 0) {
      scored.emplace_back(std::max(score, alone), i);
    }
  }
  std::stable_sort(scored.begin(), scored.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::size_t> indices;
  for (const auto& [score, index] : scored) {
    if (indices.size() < most) {
      indices.push_back(index);
    }
  }
  return indices;
}

void CommandPalette::draw(Ui& ui, const std::function<std::vector<PaletteEntry>()>& list,
                          float scale) {
  const bool just_opened = opening_;
  if (std::exchange(opening_, false)) {
    typed_.clear();
    chosen_ = 0;
    entries_ = list();
    shown_ = rank_entries(entries_, typed_, kMostShown);
    ImGui::OpenPopup(kTitle);
  }
  const ImVec2 screen = ImGui::GetIO().DisplaySize;
  const float width = std::min(640.0F * scale, screen.x - 40.0F * scale);
  ImGui::SetNextWindowPos({screen.x * 0.5F, screen.y * 0.12F}, ImGuiCond_Always, {0.5F, 0.0F});
  ImGui::SetNextWindowSize({width, 0.0F});
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {10.0F * scale, 10.0F * scale});
  visible_ = ImGui::BeginPopup(kTitle, ImGuiWindowFlags_NoSavedSettings | ImGuiWindowFlags_NoMove);
  ImGui::PopStyleVar();
  if (!visible_) {
    return;
  }
  const Palette& c = colors(ui);
  std::function<void()> act;
  if (just_opened || ImGui::IsWindowAppearing()) {
    ImGui::SetKeyboardFocusHere();
  }
  if (search_field(ui, "palette/input", typed_, "type a command, a tab, a fault, a tensor…",
                   ImGui::GetContentRegionAvail().x)) {
    shown_ = rank_entries(entries_, typed_, kMostShown);
    chosen_ = 0;
  }
  const auto count = static_cast<int>(shown_.size());
  bool moved = false;
  if (ImGui::IsKeyPressed(ImGuiKey_DownArrow) || ImGui::IsKeyPressed(ImGuiKey_UpArrow)) {
    chosen_ += ImGui::IsKeyPressed(ImGuiKey_DownArrow) ? 1 : -1;
    moved = true;
  }
  chosen_ = std::clamp(chosen_, 0, std::max(count - 1, 0));
  const bool enter = ImGui::IsKeyPressed(ImGuiKey_Enter, false) && count > 0;
  const float rows = ImGui::GetTextLineHeightWithSpacing() * 14.0F;
  if (ImGui::BeginChild("list", {0.0F, std::min(rows, screen.y * 0.55F)})) {
    for (int i = 0; i < count; ++i) {
      const PaletteEntry& entry = entries_[shown_[static_cast<std::size_t>(i)]];
      ImGui::PushID(i);
      if (ImGui::Selectable("##entry", i == chosen_)) {
        act = entry.act;
      }
      ui.widgets.mark(fmt::format("palette/{}", i));
      ImGui::PopID();
      if (moved && i == chosen_) {
        ImGui::SetScrollHereY(0.5F);
      }
      ImGui::SameLine(8.0F * scale);
      text(c.quiet, entry.group);
      ImGui::SameLine(112.0F * scale);
      text(c.text, entry.text);
      if (!entry.key.empty()) {
        mono_right(ui, c.quiet, entry.key, right_edge() - 6.0F * scale);
      }
    }
    if (count == 0) {
      text(c.quiet, "nothing is called like that");
    }
  }
  ImGui::EndChild();
  ui.widgets.state("palette/top",
                   count > 0 ? entries_[shown_[static_cast<std::size_t>(chosen_)]].text : "");
  ui.widgets.state("palette/count", fmt::format("{}", count));
  if (enter) {
    act = entries_[shown_[static_cast<std::size_t>(chosen_)]].act;
  }
  if (act || ImGui::IsKeyPressed(ImGuiKey_Escape, false)) {
    ImGui::CloseCurrentPopup();
  }
  ImGui::EndPopup();
  if (act) {
    act();
  }
}

}  // namespace layerscope::gui

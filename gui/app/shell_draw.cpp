// How the shell draws: regions, splitters, messages, the list of keys.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "gui/app/shell.h"
#include "gui/app/theme.h"
#include "gui/panels/widgets.h"

namespace layerscope::gui {
namespace {

constexpr ImGuiWindowFlags kFixed =
    ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
    ImGuiWindowFlags_NoBringToFrontOnFocus | ImGuiWindowFlags_NoNavInputs;
constexpr ImGuiWindowFlags kStill =
    ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse;

}  // namespace

void Shell::draw_region(const char* name, const Rect& rect, Place place, ImGuiChildFlags flags,
                        ImVec2 padding) {
  std::vector<Panel*> here;
  for (const PanelEntry& entry : panels_) {
    if (entry.place == place) {
      here.push_back(entry.panel.get());
    }
  }
  const bool bar = place == Place::kTop || place == Place::kStatus;
  for (std::size_t i = 0; i < here.size(); ++i) {
    const Rect part = stack_part(rect, static_cast<int>(i), static_cast<int>(here.size()));
    ImGui::SetCursorScreenPos({part.x, part.y});
    ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {padding.x * scale_, padding.y * scale_});
    ImGui::PushID(name);
    ImGui::BeginChild(here[i]->id(), {part.width, part.height},
                      flags | ImGuiChildFlags_AlwaysUseWindowPadding,
                      bar ? kStill : ImGuiWindowFlags_None);
    ImGui::PopStyleVar();
    here[i]->draw(ui_);
    ImGui::EndChild();
    ImGui::PopID();
    ui_.widgets.mark_rect(std::string("layout/") + here[i]->id(), {part.x, part.y},
                          {part.right(), part.bottom()});
  }
}

void Shell::draw_bottom(const Rect& rect) {
  ImGui::SetCursorScreenPos({rect.x, rect.y});
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {10.0F * scale_, 5.0F * scale_});
  ImGui::BeginChild("bottom", {rect.width, rect.height}, ImGuiChildFlags_AlwaysUseWindowPadding,
                    kStill);
  ImGui::PopStyleVar();
  if (ImGui::BeginTabBar("tabs", ImGuiTabBarFlags_FittingPolicyScroll)) {
    for (const PanelEntry& entry : panels_) {
      if (entry.place != Place::kBottom) {
        continue;
      }
      const bool wanted = wanted_tab_ == entry.panel->id();
      const bool open = ImGui::BeginTabItem(
          fmt::format("{}###{}", entry.panel->title(), entry.panel->id()).c_str(), nullptr,
          wanted ? ImGuiTabItemFlags_SetSelected : ImGuiTabItemFlags_None);
      if (wanted) {
        wanted_tab_.clear();
      }
      ui_.widgets.mark(std::string("tab/") + entry.panel->id());
      if (open) {
        ui_.widgets.state("tab/selected", entry.panel->id());
        open_tab_ = entry.panel->id();
        ImGui::BeginChild(entry.panel->id());
        entry.panel->draw(ui_);
        ImGui::EndChild();
        ImGui::EndTabItem();
      }
    }
    ImGui::EndTabBar();
  }
  ImGui::EndChild();
  ui_.widgets.mark_rect("layout/bottom", {rect.x, rect.y}, {rect.right(), rect.bottom()});
}

void Shell::draw_regions(float width, float height) {
  const Layout layout = compute_layout(width, height, scale_, stored_.layout);
  const Palette& c = colors(ui_);
  ImGui::SetNextWindowPos({0.0F, 0.0F});
  ImGui::SetNextWindowSize({width, height});
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {0.0F, 0.0F});
  // The frame was cleared to its colour: filling it again costs a pass over every pixel.
  ImGui::Begin("shell", nullptr, kFixed | kStill | ImGuiWindowFlags_NoBackground);
  ImGui::PopStyleVar();
  draw_region("top", layout.top, Place::kTop, 0, {12.0F, 4.0F});
  if (layout.centre.height >= 1.0F) {  // else the bottom tabs have all the room
    draw_region("left", layout.left, Place::kLeft, 0, {12.0F, 10.0F});
    draw_region("centre", layout.centre, Place::kCentre, 0, {12.0F, 10.0F});
    draw_region("right", layout.right, Place::kRight, 0, {12.0F, 10.0F});
  }
  draw_bottom(layout.bottom);
  draw_region("status", layout.status, Place::kStatus, 0, {12.0F, 4.0F});
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const float line = std::max(1.0F, std::floor(scale_));
  const auto horizontal = [&](float y) {
    draw->AddRectFilled({0.0F, y - line}, {width, y}, c.border);
  };
  const auto vertical = [&](float x, const Rect& beside) {
    draw->AddRectFilled({x, beside.y}, {x + line, beside.bottom()}, c.border);
  };
  horizontal(layout.top.bottom());
  horizontal(layout.bottom.y);
  horizontal(layout.status.y);
  vertical(layout.centre.x, layout.centre);
  vertical(layout.right.x, layout.centre);
  draw_splitters(layout, width, height);
  ImGui::End();
}

void Shell::splitter(const char* id, Splitter which, const Rect& rect, float width, float height) {
  // A child window of its own, after the regions: it lies on top of those that it overlaps.
  ImGui::SetCursorScreenPos({rect.x, rect.y});
  ImGui::BeginChild(id, {rect.width, rect.height}, ImGuiChildFlags_None, kStill);
  ImGui::InvisibleButton("grab", {rect.width, rect.height});
  ui_.widgets.mark(id);
  const bool active = ImGui::IsItemActive();
  if (active || ImGui::IsItemHovered()) {
    const bool horizontal = which == Splitter::kBottom;
    ImGui::SetMouseCursor(horizontal ? ImGuiMouseCursor_ResizeNS : ImGuiMouseCursor_ResizeEW);
    const float thick = std::max(1.0F, scale_);
    const ImVec2 middle{rect.x + rect.width / 2.0F, rect.y + rect.height / 2.0F};
    const ImVec2 min =
        horizontal ? ImVec2{rect.x, middle.y - thick} : ImVec2{middle.x - thick, rect.y};
    const ImVec2 max = horizontal ? ImVec2{rect.right(), middle.y + thick}
                                  : ImVec2{middle.x + thick, rect.bottom()};
    ImGui::GetWindowDrawList()->AddRectFilled(min, max, colors(ui_).accent);
  }
  if (ImGui::IsItemActivated()) {
    drag_start_ = stored_.layout;
  }
  if (active && ImGui::IsMouseDragging(ImGuiMouseButton_Left, 0.0F)) {
    const ImVec2 moved = ImGui::GetMouseDragDelta(ImGuiMouseButton_Left, 0.0F);
    stored_.layout = drag_splitter(which, moved.x, moved.y, width, height, scale_, drag_start_);
  }
  if (ImGui::IsItemHovered() && ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left)) {
    stored_.layout = LayoutSettings{};
  }
  ImGui::EndChild();
}

void Shell::draw_splitters(const Layout& layout, float width, float height) {
  if (layout.centre.height >= 1.0F) {
    splitter("layout/split left", Splitter::kLeft, layout.split_left, width, height);
    splitter("layout/split right", Splitter::kRight, layout.split_right, width, height);
  }
  splitter("layout/split bottom", Splitter::kBottom, layout.split_bottom, width, height);
  ui_.widgets.state("layout/left", fmt::format("{:.0f}", layout.left.width));
  ui_.widgets.state("layout/right", fmt::format("{:.0f}", layout.right.width));
  ui_.widgets.state("layout/bottom", fmt::format("{:.0f}", layout.bottom.height));
}

void Shell::draw_message() {
  if (!ui_.notice.empty()) {
    draw_note("notice", ui_.notice, colors(ui_).error);
  } else if (!info_.empty()) {
    draw_note("info", info_, colors(ui_).accent);
    if (ImGui::GetTime() > info_until_) {
      info_.clear();
    } else {
      ui_.requests.redraw = ui_.requests.redraw || info_until_ < ImGui::GetTime() + 60.0;
    }
  }
}

void Shell::draw_note(const std::string& id, std::string& note, ImU32 color) {
  const Palette& c = colors(ui_);
  const ImVec2 screen = ImGui::GetIO().DisplaySize;
  const float width = std::min(screen.x - 40.0F * scale_, 680.0F * scale_);
  ImGui::SetNextWindowPos({screen.x * 0.5F, screen.y - 44.0F * scale_}, ImGuiCond_Always,
                          {0.5F, 1.0F});
  ImGui::SetNextWindowSize({width, 0.0F});
  ImGui::PushStyleVar(ImGuiStyleVar_WindowRounding, 6.0F * scale_);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, 1.0F);
  ImGui::PushStyleColor(ImGuiCol_WindowBg, c.card);
  ImGui::Begin(id.c_str(), nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove |
                   ImGuiWindowFlags_NoSavedSettings | ImGuiWindowFlags_NoFocusOnAppearing |
                   ImGuiWindowFlags_NoNav);
  const ImVec2 min = ImGui::GetWindowPos();
  const ImVec2 size = ImGui::GetWindowSize();
  ImGui::GetWindowDrawList()->AddRectFilled(min, {min.x + 4.0F * scale_, min.y + size.y}, color,
                                            6.0F * scale_, ImDrawFlags_RoundCornersLeft);
  ImGui::Indent(6.0F * scale_);
  const float button_space = button_size(ui_, "Dismiss").x + 14.0F * scale_;
  ImGui::PushTextWrapPos(ImGui::GetCursorPosX() + ImGui::GetContentRegionAvail().x - button_space);
  ImGui::TextUnformatted(note.c_str());
  ImGui::PopTextWrapPos();
  ui_.widgets.mark(id);
  ui_.widgets.state(id, note);
  ImGui::SameLine();
  ImGui::SetCursorPosX(ImGui::GetCursorPosX() + ImGui::GetContentRegionAvail().x -
                       button_size(ui_, "Dismiss").x);
  if (button(ui_, id + "/dismiss", "Dismiss", Look::kPlain,
             fmt::format("Hide this message  ·  {}", key_text(Action::kDismiss)))) {
    note.clear();
  }
  ImGui::End();
  ImGui::PopStyleColor();
  ImGui::PopStyleVar(2);
}

void Shell::draw_keys() {
  constexpr const char* kTitle = "Keys";
  if (keys_visible_ && !ImGui::IsPopupOpen(kTitle)) {
    ImGui::OpenPopup(kTitle);
  }
  ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Always, {0.5F, 0.5F});
  if (!begin_dialog(kTitle, &keys_visible_, scale_, ImGuiWindowFlags_AlwaysAutoResize)) {
    return;
  }
  ui_.widgets.state("keys", "visible");
  const Palette& c = colors(ui_);
  // Two columns, so that the list fits the smallest window.
  const std::string_view second_column = "Look";
  std::string_view group;
  ImGui::BeginGroup();
  float left = ImGui::GetCursorPosX();
  for (const Binding& binding : bindings()) {
    if (group != binding.group) {
      if (second_column == binding.group) {
        ImGui::EndGroup();
        ImGui::SameLine(0.0F, 32.0F * scale_);
        ImGui::BeginGroup();
        left = ImGui::GetCursorPosX();
      } else if (!group.empty()) {
        ImGui::Spacing();
      }
      group = binding.group;
      section_title(ui_, group);
    }
    mono(ui_, c.accent, chord_text(binding.chord));
    ImGui::SameLine();
    ImGui::SetCursorPosX(left + 120.0F * scale_);
    text(c.text, binding.text);
    ui_.widgets.mark(fmt::format("keys/{}", chord_text(binding.chord)));
  }
  ImGui::EndGroup();
  ImGui::Spacing();
  if (button(ui_, "keys/close", "Close", Look::kPrimary, "Esc") ||
      ImGui::IsKeyPressed(ImGuiKey_Escape, false)) {
    keys_visible_ = false;
    ImGui::CloseCurrentPopup();
  }
  ImGui::EndPopup();
}

}  // namespace layerscope::gui

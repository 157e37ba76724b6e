#include "gui/panels/ui.h"

#include <algorithm>

namespace layerscope::gui {

void WidgetRegistry::clear() {
  widgets_.clear();
  states_.clear();
}

void WidgetRegistry::mark(std::string_view id) {
  widgets_.insert_or_assign(
      std::string(id),
      Widget{ImGui::GetItemRectMin(), ImGui::GetItemRectMax(), ImGui::IsItemVisible()});
}

void WidgetRegistry::mark_rect(std::string_view id, ImVec2 min, ImVec2 max) {
  const bool visible = max.x > min.x && max.y > min.y && ImGui::IsRectVisible(min, max);
  widgets_.insert_or_assign(std::string(id), Widget{min, max, visible});
}

void WidgetRegistry::state(std::string_view id, std::string value) {
  states_.insert_or_assign(std::string(id), std::move(value));
}

const WidgetRegistry::Widget* WidgetRegistry::find(std::string_view id) const {
  const auto found = widgets_.find(id);
  return found == widgets_.end() ? nullptr : &found->second;
}

const std::string* WidgetRegistry::find_state(std::string_view id) const {
  const auto found = states_.find(id);
  return found == states_.end() ? nullptr : &found->second;
}

std::vector<std::string> WidgetRegistry::ids() const {
  std::vector<std::string> names;
  names.reserve(widgets_.size() + states_.size());
  for (const auto& [name, widget] : widgets_) {
    names.push_back(name);
  }
  for (const auto& [name, value] : states_) {
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

int Ui::shown_position() const {
  const int newest = snapshot->n_frames - 1;
  return selection.position < 0 ? newest : std::min(selection.position, newest);
}

const capture::TokenFrame* Ui::shown_frame() const { return snapshot->frame(shown_position()); }

}  // namespace layerscope::gui

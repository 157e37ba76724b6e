// Bench: all panels in one window without a renderer, laid out roughly as the program does. For
// tests.
#pragma once

#include <gtest/gtest.h>
#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gui/panels/ui.h"

namespace layerscope::gui {

/// A window of all panels, laid out roughly as the program does, on a null backend.
class Bench {
 public:
  explicit Bench(ImVec2 size, float scale = 1.0F) : context_(ImGui::CreateContext()) {
    ImGuiIO& io = ImGui::GetIO();
    io.IniFilename = nullptr;
    io.DisplaySize = size;
    io.BackendFlags |= ImGuiBackendFlags_RendererHasTextures;
    io.ConfigErrorRecoveryEnableAssert = true;
    ImGui::GetStyle().FontScaleDpi = scale;
    ui.scale = scale;
    ui.snapshot = std::make_shared<session::Snapshot>();
  }
  ~Bench() {
    for (ImTextureData* texture : ImGui::GetPlatformIO().Textures) {
      texture->SetTexID(ImTextureID_Invalid);
      texture->SetStatus(ImTextureStatus_Destroyed);
    }
    ImGui::DestroyContext(context_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void frame(int n = 1) {
    for (int i = 0; i < n; ++i) {
      ImGuiIO& io = ImGui::GetIO();
      io.DeltaTime = 1.0F / 60.0F;
      ui.frame_seconds = 1.0 / 60.0;
      ui.widgets.clear();
      ImGui::NewFrame();
      draw();
      conflicts = std::max(conflicts, context_->HoveredIdPreviousFrameItemCount);
      ImGui::Render();
      for (ImTextureData* texture : *ImGui::GetDrawData()->Textures) {
        texture->SetTexID(1);
        texture->SetStatus(ImTextureStatus_OK);
      }
    }
  }
  /// Moves the mouse to the middle of a widget; clicks with `button` where ≥ 0.
  void point(const std::string& id, int mouse_button = -1) {
    const WidgetRegistry::Widget* widget = ui.widgets.find(id);
    ASSERT_NE(widget, nullptr) << id;
    ImGui::GetIO().AddMousePosEvent((widget->min.x + widget->max.x) / 2.0F,
                                    (widget->min.y + widget->max.y) / 2.0F);
    frame(2);
    if (mouse_button >= 0) {
      ImGui::GetIO().AddMouseButtonEvent(mouse_button, true);
      frame();
      ImGui::GetIO().AddMouseButtonEvent(mouse_button, false);
      frame(2);
    }
  }
  [[nodiscard]] std::string state(const std::string& id) const {
    const std::string* value = ui.widgets.find_state(id);
    return value == nullptr ? "(none)" : *value;
  }

  [[nodiscard]] std::string title(std::string_view id) const {
    for (const PanelEntry& entry : panels_) {
      if (id == entry.panel->id()) {
        return entry.panel->title();
      }
    }
    return {};
  }

  Ui ui;
  std::string tab = "norms";
  int conflicts = 0;

 private:
  void draw() {
    const ImVec2 size = ImGui::GetIO().DisplaySize;
    const float top = 44.0F * ui.scale;
    const float status = 28.0F * ui.scale;
    const float left = size.x * 0.22F;
    const float right = size.x * 0.21F;
    const float bottom = size.y * 0.3F;
    const float middle = size.y - top - status - bottom;
    for (PanelEntry& entry : panels_) {
      ImVec2 at;
      ImVec2 extent;
      switch (entry.place) {
        case Place::kTop:
          at = {0, 0};
          extent = {size.x, top};
          break;
        case Place::kLeft:
          at = {0, top};
          extent = {left, middle};
          break;
        case Place::kCentre:
          at = {left, top};
          extent = {size.x - left - right, middle};
          break;
        case Place::kRight:
          at = {size.x - right, top};
          extent = {right, middle};
          break;
        case Place::kBottom:
          if (tab != entry.panel->id()) {
            continue;
          }
          at = {0, top + middle};
          extent = {size.x, bottom};
          break;
        case Place::kStatus:
          at = {0, size.y - status};
          extent = {size.x, status};
          break;
      }
      ImGui::SetNextWindowPos(at);
      ImGui::SetNextWindowSize(extent);
      ImGui::Begin(entry.panel->id(), nullptr,
                   ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove |
                       ImGuiWindowFlags_NoSavedSettings | ImGuiWindowFlags_NoBringToFrontOnFocus);
      entry.panel->draw(ui);
      ImGui::End();
    }
  }

  ImGuiContext* context_;
  std::vector<PanelEntry> panels_ = make_panels();
};

}  // namespace layerscope::gui

// Whatever reacts to the mouse has a registered id, so that scripts reach it, and a tooltip, so
// that people know what it does. The whole window is felt with the mouse, point by point.
#include <gtest/gtest.h>
#include <imgui.h>
#include <imgui_internal.h>

#include <set>
#include <string>

#include "tests/gui/panels/bench.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui {
namespace {

using sample::Builder;

bool tooltip_shown() {
  for (const ImGuiWindow* window : ImGui::GetCurrentContext()->Windows) {
    if ((window->Flags & ImGuiWindowFlags_Tooltip) != 0 && window->Active) {
      return true;
    }
  }
  return false;
}

/// Scroll bars and the headers of tables belong to Dear ImGui.
bool is_decoration(ImGuiID id) {
  ImGuiContext& g = *ImGui::GetCurrentContext();
  const ImGuiWindow* window = g.HoveredWindow;
  if (window == nullptr) {
    return true;
  }
  for (const ImGuiAxis axis : {ImGuiAxis_X, ImGuiAxis_Y}) {
    if (id == ImGui::GetWindowScrollbarID(const_cast<ImGuiWindow*>(window), axis)) {  // NOLINT
      return true;
    }
  }
  for (int i = 0; i < g.Tables.GetMapSize(); ++i) {
    const ImGuiTable* table = g.Tables.TryGetMapData(i);
    if (table != nullptr && (table->InnerWindow == window || table->OuterWindow == window) &&
        g.IO.MousePos.y < table->OuterRect.Min.y + table->LastFirstRowHeight + 4.0F) {
      return true;
    }
  }
  return false;
}

class Felt : public testing::TestWithParam<const char*> {};

TEST_P(Felt, WhateverReactsToTheMouse_HasAnIdAndATooltip) {
  constexpr float kStep = 16.0F;  // no button is smaller
  constexpr ImVec2 kSize{1280.0F, 800.0F};
  Bench bench(kSize);
  bench.ui.snapshot = Builder({4, 4, 4}).grow_to(24).build();
  bench.ui.selection.tensor = "blk.0.attn_q.weight";
  bench.tab = GetParam();
  ImGuiStyle& style = ImGui::GetStyle();
  style.HoverDelayNormal = style.HoverDelayShort = style.HoverStationaryDelay = 0.0F;
  bench.frame(4);
  std::set<std::string> nameless;
  std::set<std::string> silent;
  std::set<std::string> felt;
  const float bottom = kSize.y * 0.7F - 28.0F;
  for (float y = bench.tab == "norms" ? 4.0F : bottom; y < kSize.y; y += kStep) {
    for (float x = 4.0F; x < kSize.x; x += kStep) {
      ImGui::GetIO().AddMousePosEvent(x, y);
      bench.frame();
      const ImGuiID hovered = ImGui::GetCurrentContext()->HoveredId;
      if (hovered == 0 || is_decoration(hovered)) {
        continue;
      }
      std::string name;
      for (const std::string& id : bench.ui.widgets.ids()) {
        const auto* widget = bench.ui.widgets.find(id);
        if (!id.starts_with("layout/") && widget != nullptr && x >= widget->min.x &&
            x < widget->max.x && y >= widget->min.y && y < widget->max.y) {
          name = id;
        }
      }
      if (name.empty()) {
        const ImGuiWindow* window = ImGui::GetCurrentContext()->HoveredWindow;
        nameless.insert(window != nullptr ? window->Name : "?");
        continue;
      }
      if (!felt.insert(name).second) {
        continue;
      }
      bench.frame(2);
      if (!tooltip_shown()) {
        silent.insert(name);
      }
    }
  }
  EXPECT_GT(felt.size(), 3U) << "the mouse met hardly anything";
  EXPECT_EQ(nameless, std::set<std::string>()) << "windows with parts that have no id";
  EXPECT_EQ(silent, std::set<std::string>()) << "no tooltip";
}

INSTANTIATE_TEST_SUITE_P(Tabs, Felt,
                         testing::Values("norms", "findings", "heads", "tensors", "kv", "faults",
                                         "model", "log"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace layerscope::gui

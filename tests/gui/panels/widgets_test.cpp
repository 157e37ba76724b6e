// Whatever reacts to the mouse has a registered id, so that scripts reach it, and a tooltip, so
// that people know what it does. The whole window is felt with the mouse, point by point.
#include <gtest/gtest.h>
#include <imgui.h>
#include <imgui_internal.h>

#include <memory>
#include <set>
#include <string>
#include <string_view>

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
    if (table != nullptr && table->IsUsingHeaders &&
        (table->InnerWindow == window || table->OuterWindow == window) &&
        g.IO.MousePos.y < table->OuterRect.Min.y + ImGui::GetFrameHeight()) {
      return true;
    }
  }
  return false;
}

/// A session with something to touch in every tab.
std::shared_ptr<const session::Snapshot> usual() {
  auto s = Builder({4, 4, 4}).grow_to(24).build();
  auto model = std::make_shared<session::ModelInfo>(*s->model);
  model->faults = {{"rope:off", "rope:off[,LAYER]", "RoPE not applied", "story", "rope:off", ""},
                   {"mask:none", "mask:none", "No causal mask", "story", "mask:none", "not here"}};
  s->model = model;
  auto cache = std::make_shared<session::CacheView>();
  capture::CacheStats& stats = cache->stats;
  stats.n_layers = 4;
  stats.n_kv_heads = 4;
  stats.head_dim = 8;
  stats.context = 64;
  stats.kv_len = stats.n_slots = 24;
  stats.slots.resize(std::size_t{4} * 4 * 24, {1.0F, 2.0F, 0, false});
  cache->slot = 23;
  cache->key.assign(8, 0.5F);
  cache->value.assign(8, 0.25F);
  s->cache_view = cache;
  return s;
}

class Felt : public testing::TestWithParam<const char*> {};

TEST_P(Felt, WhateverReactsToTheMouse_HasAnIdAndATooltip) {
  constexpr float kStep = 16.0F;  // no button is smaller
  constexpr ImVec2 kSize{1280.0F, 800.0F};
  Bench bench(kSize);
  bench.ui.snapshot = usual();
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
      const ImGuiWindow* over = ImGui::GetCurrentContext()->HoveredWindow;
      // The attention panel's pictures speak only where a cell is; its own tests cover them.
      const bool picture = over != nullptr && std::string_view(over->Name).starts_with("attention");
      if (hovered == 0 || picture || is_decoration(hovered)) {
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
  EXPECT_GT(felt.size(), 1U) << "the mouse met hardly anything";
  EXPECT_EQ(nameless, std::set<std::string>()) << "windows with parts that have no id";
  EXPECT_EQ(silent, std::set<std::string>()) << "no tooltip";
}

INSTANTIATE_TEST_SUITE_P(Tabs, Felt,
                         testing::Values("norms", "findings", "heads", "tensors", "kv", "faults",
                                         "model", "log"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace layerscope::gui

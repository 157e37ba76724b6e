// ImGuiHolder: the Dear ImGui context and what the program asks of it. UI thread.
#pragma once

#include <imgui.h>
#include <imgui_internal.h>
#include <spdlog/spdlog.h>

#include <cstdint>

namespace layerscope::gui {

/// The ImGui context, made first and destroyed last.
struct ImGuiHolder {
  ImGuiHolder() {
    IMGUI_CHECKVERSION();
    ImGui::CreateContext();
    ImGuiIO& io = ImGui::GetIO();
    io.IniFilename = nullptr;  // the layout is ours
    io.LogFilename = nullptr;
    io.ConfigInputTextCursorBlink = false;  // a blinking cursor would keep an idle window awake
    // Unbalanced calls in a panel are counted; Dear ImGui repairs them and goes on.
    io.ConfigErrorRecoveryEnableAssert = false;
    io.ConfigErrorRecoveryEnableDebugLog = false;
    ImGui::GetCurrentContext()->ErrorCallback = [](ImGuiContext*, void* user, const char* text) {
      auto* holder = static_cast<ImGuiHolder*>(user);
      if (holder->misuses++ == 0) {
        spdlog::error("Dear ImGui is used wrongly: {}", text);
      }
    };
    ImGui::GetCurrentContext()->ErrorCallbackUserData = this;
  }
  ~ImGuiHolder() { ImGui::DestroyContext(); }
  ImGuiHolder(const ImGuiHolder&) = delete;
  ImGuiHolder& operator=(const ImGuiHolder&) = delete;

  std::uint32_t misuses = 0;
};

}  // namespace layerscope::gui

// What the program finds and makes before its window is there. UI thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace layerscope::gui {

/// The demo model beside the program (a build, an installation) or in the working folder; empty:
/// there is none.
std::string find_demo();

/// What a script may name with ${…}: SOURCE, SHARED, TMP and MODEL from the environment or by
/// default, and MODEL_DIR, MODEL_NAME of the latter. `model`: of the command line.
std::map<std::string, std::string, std::less<>> script_variables(const std::string& model);

/// The ImGui context, made first and destroyed last. Counts wrong uses of Dear ImGui.
struct ImGuiHolder {
  ImGuiHolder();
  ~ImGuiHolder();
  ImGuiHolder(const ImGuiHolder&) = delete;
  ImGuiHolder& operator=(const ImGuiHolder&) = delete;

  std::uint32_t misuses = 0;
};

}  // namespace layerscope::gui

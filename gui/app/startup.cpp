#include "gui/app/startup.h"

#include <imgui.h>
#include <imgui_internal.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

namespace layerscope::gui {

std::string find_demo() {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed).parent_path();
  for (const fs::path& folder :
       {program / "assets/demo", program.parent_path() / "assets/demo",
        program.parent_path() / "share/layerscope/demo", fs::path("assets/demo")}) {
    for (const auto& entry : fs::directory_iterator(folder, failed)) {
      if (entry.path().extension() == ".gguf") {
        return fs::absolute(entry.path(), failed).lexically_normal().string();
      }
    }
  }
  return {};
}

std::map<std::string, std::string, std::less<>> script_variables(const std::string& given) {
  namespace fs = std::filesystem;
  std::error_code failed;
  std::map<std::string, std::string, std::less<>> variables;
  const auto from_environment = [&variables](const char* name, const char* key, std::string other) {
    const char* value = std::getenv(key);
    variables[name] = value != nullptr ? value : std::move(other);
  };
  from_environment("SOURCE", "LS_SOURCE_DIR", fs::current_path(failed).string());
  from_environment("SHARED", "LS_SHARED_DIR", fs::current_path(failed).parent_path() / "shared");
  from_environment("TMP", "TMPDIR", fs::temp_directory_path(failed).string());
  from_environment("MODEL", "MODEL", given);
  const fs::path model = fs::absolute(variables["MODEL"], failed);
  variables["MODEL"] = model.string();
  variables["MODEL_DIR"] = model.parent_path().string();
  variables["MODEL_NAME"] = model.filename().string();
  return variables;
}

ImGuiHolder::ImGuiHolder() {
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

ImGuiHolder::~ImGuiHolder() { ImGui::DestroyContext(); }

}  // namespace layerscope::gui

#include "gui/app/demo.h"

#include <filesystem>
#include <system_error>

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

}  // namespace layerscope::gui

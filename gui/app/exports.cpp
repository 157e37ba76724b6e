#include "gui/app/exports.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace layerscope::gui {

std::string export_path(const std::string& folder, const std::string& what,
                        const std::string& ending) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path base = folder.empty() ? fs::current_path(failed) : fs::path(folder);
  fs::create_directories(base, failed);
  fs::path path = base / fmt::format("layerscope-{}.{}", what, ending);
  for (int n = 2; fs::exists(path, failed) && n < 1000; ++n) {
    path = base / fmt::format("layerscope-{}-{}.{}", what, n, ending);
  }
  return path.string();
}

Status write_text(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".part";
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file << text;
    file.close();
    if (!file) {
      return invalid_input(fmt::format("cannot write {}; is the folder writable?", path));
    }
  }
  std::error_code failed;
  std::filesystem::rename(temporary, path, failed);
  if (failed) {
    return invalid_input(fmt::format("cannot write {}: {}", path, failed.message()));
  }
  return {};
}

Pixels crop(const Pixels& picture, float x0, float y0, float x1, float y1) {
  const auto inside = [](float v, std::uint32_t most) {
    return static_cast<std::uint32_t>(std::clamp(std::lround(v), 0L, static_cast<long>(most)));
  };
  const std::uint32_t left = inside(x0, picture.width);
  const std::uint32_t top = inside(y0, picture.height);
  Pixels part;
  part.width = std::max(inside(x1, picture.width), left) - left;
  part.height = std::max(inside(y1, picture.height), top) - top;
  const std::size_t line = std::size_t{part.width} * 4;
  part.rgba.resize(line * part.height);
  for (std::uint32_t y = 0; y < part.height && line > 0; ++y) {
    const std::size_t from = (std::size_t{top + y} * picture.width + left) * 4;
    std::memcpy(part.rgba.data() + y * line, picture.rgba.data() + from, line);
  }
  return part;
}

}  // namespace layerscope::gui

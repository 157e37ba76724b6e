#include "gui/vulkan/png.h"

#include <fmt/format.h>
#include <png.h>

#include <filesystem>

namespace layerscope::gui {

Status write_png(const std::string& path, const Pixels& pixels) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path folder = fs::path(path).parent_path();
  if (!folder.empty()) {
    fs::create_directories(folder, failed);
    if (failed) {
      return invalid_input(
          fmt::format("cannot create the folder {}: {}", folder.string(), failed.message()));
    }
  }
  const std::string temporary = path + ".part";
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = pixels.width;
  image.height = pixels.height;
  image.format = PNG_FORMAT_RGBA;
  if (png_image_write_to_file(&image, temporary.c_str(), 0, pixels.rgba.data(),
                              static_cast<png_int_32>(pixels.width * 4), nullptr) == 0) {
    fs::remove(temporary, failed);
    return invalid_input(fmt::format("cannot write {}: {}", path, image.message));
  }
  fs::rename(temporary, path, failed);
  if (failed) {
    return invalid_input(fmt::format("cannot write {}: {}", path, failed.message()));
  }
  return {};
}

}  // namespace layerscope::gui

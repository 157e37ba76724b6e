#include "gui/vulkan/png.h"

#include <fmt/format.h>
#include <png.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <vector>

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
  // The window is opaque.
  std::vector<std::uint8_t> rgb(std::size_t{pixels.width} * pixels.height * 3);
  for (std::size_t i = 0; i < rgb.size() / 3; ++i) {
    std::memcpy(rgb.data() + i * 3, pixels.rgba.data() + i * 4, 3);
  }
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = pixels.width;
  image.height = pixels.height;
  image.format = PNG_FORMAT_RGB;
  // Without filters, which suit photographs: pictures of the window become a fifth smaller.
  image.flags = PNG_IMAGE_FLAG_FAST;
  if (png_image_write_to_file(&image, temporary.c_str(), 0, rgb.data(),
                              static_cast<png_int_32>(pixels.width * 3), nullptr) == 0) {
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

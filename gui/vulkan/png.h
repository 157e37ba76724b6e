// PNG files through libpng.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "gui/vulkan/renderer.h"

namespace layerscope::gui {

/// Writes `pixels` to a temporary name beside `path` and renames it when whole; creates the folder.
/// Errors (kInvalidInput): the file cannot be written.
Status write_png(const std::string& path, const Pixels& pixels);

}  // namespace layerscope::gui

// Exports: where saved pictures, data and pages go, and what the shell can save. UI thread.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "gui/vulkan/renderer.h"

namespace layerscope::gui {

/// "<folder>/layerscope-<what>.<ending>", with a number where that is taken already.
std::string export_path(const std::string& folder, const std::string& what,
                        const std::string& ending);

/// Writes a whole file: under a temporary name, then renamed. Error (kInvalidInput): where it
/// fails.
Status write_text(const std::string& path, const std::string& text);

/// The part of a picture inside a rectangle in pixels, clipped to it; empty when nothing is left.
Pixels crop(const Pixels& picture, float x0, float y0, float x1, float y1);

}  // namespace layerscope::gui

// Application: puts platform, Vulkan, session and shell together and runs the main loop. UI thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "gui/app/options.h"

namespace layerscope::gui {

/// What a test program sees of every frame; empty in the product.
struct FrameProbe {
  std::function<void()> before;  ///< a new frame is about to be laid out
  /// What is wrong with the texts of the frame that was laid out last, a sentence each.
  std::function<std::vector<std::string>()> text_problems;
  bool pictures =
      true;  ///< false: a script's pictures are only saved where there are such problems
};

/// Runs until the window is closed, the script has ended or the wanted tokens are generated.
/// Errors: kUsage (script), kInvalidInput (model of an unattended run), kDevice (no display, no
/// Vulkan device, device lost), kInternal (a script's assertion, Vulkan validation).
Status run_application(const Options& options, FrameProbe probe = {});

}  // namespace layerscope::gui

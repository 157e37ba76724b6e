// Application: puts platform, Vulkan, session and shell together and runs the main loop. UI thread.
#pragma once

#include "engine/base/result.h"
#include "gui/app/options.h"

namespace layerscope::gui {

/// Runs until the window is closed, the script has ended or the wanted tokens are generated.
/// Errors: kUsage (script), kInvalidInput (model of an unattended run), kDevice (no display, no
/// Vulkan device, device lost), kInternal (a script's assertion, Vulkan validation).
Status run_application(const Options& options);

}  // namespace layerscope::gui

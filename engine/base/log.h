// Logging: one spdlog logger to stderr plus a bounded in-memory ring that the window's Log tab
// shows. Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <vector>

#include "engine/base/result.h"

namespace layerscope::log {

struct Line {
  spdlog::level::level_enum level;
  std::string text;  ///< Time stamp and message, no trailing newline.
};

/// Sets up the default logger. `level` is one of trace, debug, info, warn, error, off.
/// Error (kUsage): unknown level.
Status init(const std::string& level);

/// The most recent lines (oldest first), at most 512.
std::vector<Line> recent();

}  // namespace layerscope::log

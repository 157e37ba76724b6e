// Stored state: what is remembered between starts, as JSON under XDG_CONFIG_HOME/layerscope.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "gui/app/layout.h"
#include "gui/panels/ui.h"

namespace layerscope::gui {

struct StoredState {
  Settings settings;
  LayoutSettings layout;
  int window_width = 1600;
  int window_height = 1000;
};

/// $XDG_CONFIG_HOME/layerscope/settings.json, else ~/.config/…; empty when neither is known.
std::string settings_path();

/// Reads JSON text. Unknown keys are ignored; values of a wrong type or out of range keep their
/// default, so that one bad entry never costs the rest. Error (kInvalidInput): not JSON at all.
Result<StoredState> parse_settings(std::string_view text);
std::string format_settings(const StoredState& state);

/// The stored state; defaults (and a line in the log) when the file is missing or broken.
StoredState load_settings(const std::string& path);
/// Writes to a temporary name and renames. Error (kInvalidInput): cannot write.
Status save_settings(const std::string& path, const StoredState& state);

inline constexpr std::size_t kMaxRecent = 12;

/// Puts `path` first among the recent files, without duplicates.
void remember_file(Settings& settings, const std::string& path);

}  // namespace layerscope::gui

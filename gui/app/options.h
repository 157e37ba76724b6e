// Command line of the window program.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "gui/vulkan/context.h"

namespace layerscope::gui {

struct Options {
  std::string model;
  std::string attach;      ///< address of a worker whose session is shown
  std::string token_file;  ///< of that worker
  std::string prompt;
  bool has_prompt = false;
  bool chat = false;
  std::string backend = "auto";
  int gpu = 0;
  int context = 0;
  int threads = 0;
  std::uint64_t history_memory = 0;  ///< bytes for everything captured; 0: the default
  std::string log_level = "warn";
  bool offscreen = false;
  int width = 1600;
  int height = 1000;
  std::string script;
  std::string script_output = "build/screenshots";
  double script_timeout = 20.0;
  std::string screenshot;
  int exit_after = -1;  ///< tokens; −1: not given
  int rounds = 1;       ///< of generating, each from the prompt on
  bool no_interop = false;
  int frames_per_s = 60;           ///< drawn at most
  std::string draw_with = "auto";  ///< auto, tiles or raster
  bool validation = false;
  bool settings = false;  ///< read and write the user's settings in a headless or scripted run too
  float scale = 0.0F;     ///< 0: what the display says
  /// Losses of the graphics device to rehearse, one for each device that is made.
  std::vector<LossPlan> lose_device;

  /// Nobody sits in front of it: errors end the program.
  [[nodiscard]] bool unattended() const { return offscreen || !script.empty() || exit_after >= 0; }
};

/// Parses the command line. Nothing: help or the version was printed. Error (kUsage).
Result<std::optional<Options>> parse_options(int argc, const char* const* argv);

}  // namespace layerscope::gui

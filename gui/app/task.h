// Unattended tasks: what an offscreen run without script does. UI thread.
#pragma once

#include <chrono>
#include <string>

#include "gui/app/options.h"
#include "gui/app/shell.h"

namespace layerscope::gui {

/// Loads, sets the prompt, generates, and ends when all that is done and drawn.
class Task {
 public:
  Task(const Options& options, Shell& shell) : options_(options), shell_(shell) {}

  /// Call once per frame. True when done. Error: the model or the prompt was refused.
  Result<bool> advance();
  /// What `--exit-after` prints: the text, then a summary.
  [[nodiscard]] std::string report() const;

  /// What was to be shown cannot be opened: `advance` gives this error.
  void fail(std::string problem) { problem_ = std::move(problem); }

 private:
  [[nodiscard]] std::string frames_text() const;
  [[nodiscard]] std::string memory_text() const;
  enum class Phase { kLoading, kGenerating, kDrawing, kDone };
  const Options& options_;
  Shell& shell_;
  std::string problem_;
  Phase phase_ = Phase::kLoading;
  int frames_ = 0;
  int drawn_ = 0;                                       ///< frames while it generated
  std::chrono::steady_clock::time_point first_, last_;  ///< of them
};

}  // namespace layerscope::gui

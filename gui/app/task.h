// Unattended tasks: what an offscreen run without script does. UI thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "gui/app/frame_times.h"
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
  [[nodiscard]] std::string report(const FrameCosts& costs) const;
  /// Whether the last `advance` began a further round.
  [[nodiscard]] bool began_round() const { return began_round_; }
  /// Tokens come just now: such frames count as what generation is measured with.
  [[nodiscard]] bool generating() const { return generating_; }

  /// What was to be shown cannot be opened: `advance` gives this error.
  void fail(std::string problem) { problem_ = std::move(problem); }

 private:
  [[nodiscard]] std::string frames_text(const FrameCosts& costs) const;
  [[nodiscard]] std::string memory_text() const;
  void end_round(const session::Snapshot& snapshot);
  enum class Phase { kLoading, kGenerating, kDrawing, kDone };
  const Options& options_;
  Shell& shell_;
  std::string problem_;
  Phase phase_ = Phase::kLoading;
  int frames_ = 0, settled_frames_ = 0;  ///< after the generation
  bool generating_ = false;
  bool began_round_ = false;
  std::optional<std::uint64_t> idle_version_;  ///< of the snapshot, when last seen idle
  int rounds_ = 0;                             ///< ended
  int tokens_ = 0;                             ///< of all rounds
  double seconds_ = 0.0;
  double drawing_seconds_ = 0.0;  ///< between a round's first and last frame
  int intervals_ = 0;             ///< between frames, in all rounds
  int drawn_ = 0;                 ///< frames while it generated
  std::optional<std::chrono::steady_clock::time_point> last_;  ///< frame of this round
};

}  // namespace layerscope::gui

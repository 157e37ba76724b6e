// Logits: bars for one step's distribution, and the series over all steps. UI thread.
//
// The distribution of a frame is the one after its token: what comes next.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/session/snapshot.h"
#include "gui/view/chart.h"
#include "gui/view/frames.h"

namespace layerscope::gui::view {

struct LogitBar {
  std::int32_t id = -1;
  float logit = 0.0F;
  float prob = 0.0F;
  float length = 0.0F;  ///< 0 … 1 of the bar's track: the probability relative to the largest
  int rank = 0;
  /// Places gained (+) or lost (−) since the step before; nothing when it was not among its top.
  std::optional<int> moved;
  bool was_listed = false;  ///< the step before has a list at all
  bool chosen = false;      ///< this token comes next in the session
};

struct LogitBars {
  bool known = false;  ///< false: no distribution was computed at this position
  std::vector<LogitBar> bars;
  std::optional<LogitBar> chosen_below;  ///< the next token when it is not among the bars
  int chosen_rank = -1;                  ///< rank of the next token, −1 when there is none
  capture::TopToken best_padded;         ///< id −1 when the model has no padded rows
  bool padded_wins = false;              ///< the padded row beats every usable one
  float entropy = 0.0F;                  ///< bits
  std::uint32_t non_finite = 0;
};

/// As if only positions [0, n_tokens) were there; n_tokens < 0: all of them.
LogitBars logit_bars(const session::Snapshot& snapshot, int position, int n, int n_tokens = -1);

/// The bars from the frames, for where the engine draws no pictures: `cells` gets the values of
/// backend::DrawnStats::bars, the source points into it.
ChartSource bar_cells(const LogitBars& bars, std::vector<float>& cells);

/// Per position; HeatmapData::kHole where no distribution was computed.
class LogitSeries {
 public:
  void update(const session::Snapshot& snapshot);
  std::vector<float> entropy, min, mean, max;
  /// Smallest and largest finite value; lo > hi when there are none.
  struct Range {
    float lo = 1.0F, hi = 0.0F;
    void take(float value);
  };
  Range entropy_range, logit_range;

 private:
  FrameCursor cursor_;
};

}  // namespace layerscope::gui::view

// Logits: bars for one step's distribution, and the series over all steps. UI thread.
//
// The distribution of a frame is the one after its token: what comes next.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/session/snapshot.h"
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

LogitBars logit_bars(const session::Snapshot& snapshot, int position, int n);

/// Per position; NaN where no distribution was computed.
class LogitSeries {
 public:
  void update(const session::Snapshot& snapshot);
  std::vector<float> entropy, min, mean, max;

 private:
  FrameCursor cursor_;
};

/// Smallest and largest finite value of each of `columns` equal parts of `values`; NaN where a part
/// has none. Used where there are more values than pixels.
struct Envelope {
  std::vector<float> lo, hi;
};
Envelope envelope(const std::vector<float>& values, int columns);

}  // namespace layerscope::gui::view

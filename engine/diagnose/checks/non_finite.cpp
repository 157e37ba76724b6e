// Non-finite: the first NaN or infinity of a token, in order of computation.
#include <fmt/format.h>

#include <algorithm>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

using capture::Tap;

void check_non_finite(const LiveInput& input, Report& report) {
  const capture::TokenFrame& frame = *input.frames.back();
  // Nearly always nothing: one pass over the statistics as they lie in memory.
  if (std::none_of(frame.taps.begin(), frame.taps.end(),
                   [](const capture::TapStats& stats) { return stats.non_finite > 0; })) {
    return;
  }
  const auto look = [&](int layer, Tap tap) {
    const capture::TapStats& stats = frame.stats(layer, tap);
    if (stats.count == 0 || stats.non_finite == 0) {
      return false;
    }
    Finding f =
        finding_at(*input.subject.model, "non-finite", "non-finite", tap, layer, frame.position);
    f.value = stats.non_finite;
    f.symptom = true;
    f.message = fmt::format(
        "{}{} at position {}: {} of {} values are NaN or infinite, here for the "
        "first time",
        capture::tap_name(tap), layer >= 0 ? fmt::format(" of layer {}", layer) : "",
        frame.position, stats.non_finite, stats.count);
    f.advice = "look at what writes this tensor; everything after it is a consequence";
    report.add(std::move(f));
    return true;
  };
  if (look(-1, Tap::kEmbedding)) {
    return;
  }
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    for (std::size_t i = static_cast<std::size_t>(Tap::kAttnNorm);
         i <= static_cast<std::size_t>(Tap::kResidOut); ++i) {
      if (look(layer, static_cast<Tap>(i))) {
        return;
      }
    }
  }
  if (!look(-1, Tap::kFinalNorm)) {
    look(-1, Tap::kLogits);
  }
}

}  // namespace layerscope::diagnose

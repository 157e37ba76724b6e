// Repetition: cycles of generated tokens. A healthy model may loop too, so alone it is information.
#include <fmt/format.h>

#include <algorithm>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

using capture::Tap;

void check_repetition(const LiveInput& input, Report& report) {
  const auto& frames = input.frames;
  const std::size_t n = frames.size();
  const std::size_t generated = n - std::min(n, input.subject.n_prompt);
  if (generated < static_cast<std::size_t>(thresholds::kLoopTokens)) {
    return;
  }
  constexpr std::size_t kLongest = 16;
  for (std::size_t period = 1; period <= kLongest; ++period) {
    const std::size_t need = std::max(period * static_cast<std::size_t>(thresholds::kLoopRepeats),
                                      static_cast<std::size_t>(thresholds::kLoopTokens));
    if (need > generated) {
      break;
    }
    bool loop = true;
    for (std::size_t i = n - need; i + period < n && loop; ++i) {
      loop = frames[i]->id == frames[i + period]->id;
    }
    if (!loop) {
      continue;
    }
    const std::size_t before = n - need;
    if (before > input.subject.n_prompt &&
        frames[before - 1]->id == frames[before - 1 + period]->id) {
      return;  // told when it became a loop
    }
    Finding f;
    f.check = "repetition";
    f.cause = "repetition-loop";
    f.severity = Severity::kInfo;  // a healthy model may loop too; with a root it is a symptom
    f.symptom = true;
    f.position = static_cast<int>(n - need);
    f.stage = stage_of(-1, static_cast<int>(Tap::kLogits), frames.back()->n_layers) + 2;
    f.evidence.position = f.position;
    f.value = static_cast<double>(need);
    f.threshold = thresholds::kLoopTokens;
    f.message = fmt::format("the last {} tokens repeat a cycle of {}", need, period);
    f.advice =
        "without another finding this is the model's own doing: try a temperature or a penalty";
    report.add(std::move(f));
    return;
  }
}

}  // namespace layerscope::diagnose

// What a comparison says, in words, and the difference of two traces tap by tap and token by token.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "engine/capture/frame.h"
#include "engine/compare/comparison.h"

namespace layerscope::compare {

/// One sentence: no divergence with figures, or where and how much.
std::string verdict_sentence(const Comparison& comparison);

/// Statistics of a − b, of every tap that both traces hold whole.
struct TapDifferences {
  int n_layers = 0;
  /// [positions][(n_layers + 1) · kNumTaps]; a count of 0: not known. Row n_layers is model-wide.
  std::vector<std::vector<capture::TapStats>> by_position;
};
/// Reads every tensor of both. Attention maps are left out. Error: kCancelled.
Result<TapDifferences> tap_differences(const Trace& a, const Trace& b, const std::stop_token& stop);

}  // namespace layerscope::compare

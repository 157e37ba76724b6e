// Explains a foreign trace: reruns the model with each applicable fault on the same tokens and
// ranks the faults by how much of the difference they reproduce.
//
// Owned by the calling thread; uses the backend it is given, and leaves it without faults.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/compare/comparison.h"
#include "engine/compare/trace.h"
#include "engine/model/model.h"

namespace layerscope::session {

struct FaultScore {
  std::vector<std::string> faults;  ///< one, or a pair
  std::string title;                ///< "transposed weight"
  /// 1 − (what is left of the difference) / (the difference without the fault); 1: all explained.
  double agreement = 0.0;
  model::Interventions interventions;
  std::optional<compare::Pair> rest;  ///< where the difference that is left starts; empty: none is
  std::size_t rest_index = 0;         ///< its place in the order of computation
};

struct ExplainReport {
  /// The candidate agrees with a run of the model without faults: there is nothing to explain.
  bool healthy = false;
  compare::Comparison against_own;  ///< candidate against our run without faults
  std::vector<FaultScore> ranked;   ///< best first, everything that was tried
  int tried = 0;

  /// Those that explain at least `thresholds::kExplains` of the difference.
  [[nodiscard]] std::vector<FaultScore> convincing() const;
};

struct ExplainOptions {
  std::stop_token stop;
  std::function<void(double)> progress;  ///< 0 … 1
  bool pairs = true;                     ///< also look for a second fault beside the first
};

/// The candidate needs token ids; where it has none, `reference_ids` (of the reference) stand for
/// them. Errors: no ids anywhere, ids outside the vocabulary, what the runs give.
Result<ExplainReport> explain_trace(const model::Model& model, backend::Backend& backend,
                                    const compare::Trace& candidate,
                                    std::span<const std::int32_t> reference_ids,
                                    const ExplainOptions& options);

/// Faults of the prompt that turn the reference's ids into the candidate's ("bos:missing").
std::vector<FaultScore> explain_tokens(const model::Model& model,
                                       std::span<const std::int32_t> candidate,
                                       std::span<const std::int32_t> reference);

/// Distance of two traces: Σ over pairs of the squared relative error, each at most 1, what is
/// within the tolerance left out.
double trace_distance(const compare::Comparison& comparison);

}  // namespace layerscope::session

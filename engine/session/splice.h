// Splices: running our engine on another run's residual stream, to tell what a block does wrong
// from what it was given.
//
// Only the CPU backend splices; owned by the calling thread.
#pragma once

#include <optional>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/compare/comparison.h"
#include "engine/compare/trace.h"
#include "engine/model/model.h"

namespace layerscope::session {

/// The error of every block on its own: each layer gets the trace's own input, so that what
/// remains at its output was made there. Fills BlockError::own where the trace holds whole rows on
/// both sides (relative to ‖our output‖).
Status own_errors(const model::Model& model, backend::Backend& cpu, const compare::Trace& trace,
                  std::vector<compare::BlockError>& blocks);

struct SpliceResult {
  int layer = 0;             ///< whose input came from the reference
  double logit_error = 0.0;  ///< relative error of what comes out at the end, against the reference
  bool right = false;        ///< the rest, from this layer on, gives what the reference gives
};

/// Runs the model (with `faults`) on the reference's tokens, the input of `layer` replaced by the
/// reference's. Errors (kInvalidInput): the reference holds no whole rows there, or no tokens.
Result<SpliceResult> splice_at(const model::Model& model, backend::Backend& cpu,
                               const model::Interventions& faults, const compare::Trace& reference,
                               int layer);

struct Bisection {
  std::vector<SpliceResult> tried;  ///< in the order in which they were tried
  /// The layer that is wrong: from its input on the rest is wrong, from the next one's it is right.
  /// Empty: with the very first input the end is right (no layer is wrong), or even the part after
  /// the last layer's input is wrong and so is the head.
  std::optional<int> layer;
};

/// Finds the last wrong layer by halving. Errors as splice_at.
Result<Bisection> bisect(const model::Model& model, backend::Backend& cpu,
                         const model::Interventions& faults, const compare::Trace& reference);

}  // namespace layerscope::session

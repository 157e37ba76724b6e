// Diagnoses a trace that another engine made, with the model file as truth.
//
// Every operation is recomputed from the trace's own inputs by the deep checks, so the first
// operation that does not follow from its inputs is found even when all after it differs. No
// second engine runs for this. Owned by the calling thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/compare/reading.h"
#include "engine/compare/trace.h"
#include "engine/diagnose/finding.h"
#include "engine/model/model.h"

namespace layerscope::session {

struct ForeignReport {
  std::vector<diagnose::Finding> findings;  ///< grouped, most severe first
  int checks_run = 0;
  int operations = 0;  ///< taps that were whole, so that what made them was recomputed
  std::vector<std::string>
      missing;  ///< taps that the trace does not hold, or only in part or as text
  std::vector<compare::Unread> unused;  ///< tensors that are none of our taps
  std::vector<std::string> notes;
};

/// Errors (kInvalidInput): no token ids, ids that the model does not have, tensors whose shapes are
/// not this model's (the sentence has both).
Result<ForeignReport> diagnose_trace(const std::shared_ptr<const model::Model>& model,
                                     const compare::Trace& trace);

}  // namespace layerscope::session

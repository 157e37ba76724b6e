// A third opinion on a comparison: our own float32 run of the model on the same tokens.
#pragma once

#include <string>

#include "engine/backend/backend.h"
#include "engine/compare/comparison.h"
#include "engine/compare/trace.h"
#include "engine/model/model.h"

namespace layerscope::session {

enum class Verdict : std::uint8_t {
  kAgree,      ///< all three agree
  kCandidate,  ///< the reference agrees with our run, the candidate does not
  kReference,  ///< the candidate agrees with our run, the reference does not
  kBoth,       ///< neither agrees with our run
  kRounding,   ///< they differ, but no block adds more than rounding of some type
};

struct ThirdOpinion {
  Verdict verdict = Verdict::kAgree;
  std::string sentence;  ///< the verdict in words, with the block and the numbers
  int suspect = -1;      ///< the layer whose own error stands out; −1: none
};

/// Also fills `own` of the comparison's blocks, where the candidate holds whole rows. `cpu` is a
/// CPU backend. Errors: no token ids in either trace, or what the run gives.
Result<ThirdOpinion> third_opinion(const model::Model& model, backend::Backend& cpu,
                                   const compare::Trace& candidate, const compare::Trace& reference,
                                   compare::Comparison& comparison);

}  // namespace layerscope::session

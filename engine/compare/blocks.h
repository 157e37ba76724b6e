// Inherited and added error of each block.
#pragma once

#include <vector>

#include "engine/compare/comparison.h"

namespace layerscope::compare {

/// A trace and what its tensors are.
struct ReadTrace {
  const Trace& trace;
  const Reading& reading;
};

/// One entry per layer whose input and output both traces have. The input of layer 0 is the
/// embedding, of others the output of the layer before. `added` is ‖Δout − Δin‖: the error of what
/// the block adds to the stream, its reaction to a wrong input included.
std::vector<BlockError> block_errors(const ReadTrace& a, const ReadTrace& b,
                                     const TraceModel& model, int n_positions);

}  // namespace layerscope::compare

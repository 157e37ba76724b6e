// What frames know beyond taps, as tensors of a trace: statistics, how tokens were chosen, and the
// distributions that followed. With them a reopened trace shows the numbers of the session that it
// was written from.
//
// Per pass of n tokens, float32:
//   tap_stats    [n, layers + 1, taps, 6]   l2, absmax, mean, count, non-finite, zeros
//   head_stats   [n, layers, heads, 7]      row sum, entropy, max, its position, first, self, lse
//   choice       [n, 8]                     known, origin, logit, p, ln p, rank, entropy, ms
//   logit_stats  [n, 12]                    known, min, max, mean, entropy, lse (two parts),
//                                           non-finite, arg-max, best padded: id, logit, p
//   logit_top    [n, 32, 3]                 id (−1: none), logit, p
// Ids and counts are exact up to 2^24.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/capture/frame.h"
#include "engine/compare/trace.h"

namespace layerscope::session {

using FrameSpan = std::span<const std::shared_ptr<const capture::TokenFrame>>;

struct RecordTensor {
  std::string name;  ///< "choice": without the pass
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

/// The statistics that the frames hold; empty where they have none.
std::vector<RecordTensor> statistics_records(std::span<const capture::TapStats> taps,
                                             std::span<const capture::HeadStats> heads,
                                             int n_tokens, int n_layers, int n_heads);
/// choice, logit_stats and logit_top of the frames of one pass.
std::vector<RecordTensor> choice_records(FrameSpan frames);

/// Fills what the records of pass `pass` say into its frames (one per token of the pass). Records
/// whose shape is another one are passed over. `has_logits` per token: a distribution was read.
void read_records(const compare::Trace& trace, int pass,
                  std::span<const std::shared_ptr<capture::TokenFrame>> frames);

}  // namespace layerscope::session

// Comparison of two traces: what agrees, where they part first, and which block adds the error.
//
// Pure: traces in, verdict out. Running the model for a third opinion is session's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/compare/difference.h"
#include "engine/compare/reading.h"

namespace layerscope::compare {

/// One tap of one pass of the candidate against the reference.
struct Pair {
  capture::Tap tap = capture::Tap::kEmbedding;
  int layer = -1;
  int pass = 0;                             ///< of the candidate
  std::string name_a, name_b;               ///< as their sources call them
  int first_position = 0, n_positions = 0;  ///< of the candidate's tensor
  Difference difference;
};

/// Error of the residual stream after a block: what came in, and what the block put on top, each
/// relative to ‖reference‖ over the positions that both know.
struct BlockError {
  int layer = 0;
  double inherited = 0.0, added = 0.0, total = 0.0;
  /// The block's own error, with the candidate's input and the model as truth (session/splice.h);
  /// absent without the model.
  std::optional<double> own;
  std::vector<double> added_by_position;  ///< [n_positions], NaN where unknown
};

struct TokenDifference {
  int position = 0;
  std::int32_t a = -1, b = -1;  ///< −1: the trace ends before
};

struct Comparison {
  double tolerance = 0.0;
  std::string precision;             ///< which rounding the tolerance allows: "float32"
  std::vector<Pair> pairs;           ///< in order of computation
  std::optional<std::size_t> first;  ///< index of the first pair that diverges
  std::optional<TokenDifference> tokens;
  std::vector<BlockError> blocks;
  int n_positions = 0;
  std::vector<Unread> unmatched_a, unmatched_b;
  std::vector<std::string> notes;

  [[nodiscard]] bool diverges() const { return first.has_value() || tokens.has_value(); }
};

/// Where a trace does not say its tokens or, being one row of logits, its position, the other's are
/// taken: the logits are then those after the other's prompt.
void borrow_tokens(Trace& trace, const Trace& other);

/// Errors (kInvalidInput): the traces are of different models (both sizes are named), or have
/// nothing in common.
Result<Comparison> compare_traces(const Trace& a, const Trace& b);

/// Where the first divergence is, in words: "q_rope of layer 2 at position 3".
std::string place_text(const Pair& pair);

/// Largest error that still is rounding, and the name of that rounding.
struct Tolerance {
  double value = 0.0;
  std::string precision;
};
Tolerance tolerance_of(const Trace& a, const Trace& b);

/// The tensors of one tap, by pass, and access by position.
class Rows {
 public:
  Rows(const Trace& trace, const Reading& reading, const TraceModel& model, capture::Tap tap,
       int layer);
  [[nodiscard]] bool empty() const { return values_.empty(); }
  [[nodiscard]] const std::vector<TapValues>& values() const { return values_; }
  /// The tensor that holds the position, or null; `row` becomes its row there.
  [[nodiscard]] const TapValues* at(int position, int& row) const;
  /// The first error that a tensor gave, empty when all were read.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  std::vector<TapValues> values_;
  std::string problem_;
};

}  // namespace layerscope::compare

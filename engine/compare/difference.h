// How far two tensors of one tap are apart, over the values that both know.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/compare/reading.h"

namespace layerscope::compare {

struct Difference {
  std::uint64_t n_compared = 0;
  double max_abs = 0.0;
  double rel_l2 = 0.0;  ///< ‖a − b‖ / ‖b‖
  double cosine = 1.0;
  double excess = 0.0;  ///< largest error in units of its tolerance; above 1 the tap diverges
  bool by_sum = false;  ///< The printed values agree, the sum over all of them does not.
  double sum_a = 0.0, sum_b = 0.0;
  int position = -1;  ///< first position whose values diverge
  int channel = -1;   ///< the channel, when all that diverges is in one
  int head = -1;      ///< the head, when all that diverges is in one (attention and heads' taps)
  double channel_error = 0.0;  ///< relative error of the worst channel over all rows
  int worst_channel = -1;
  bool partial = false;  ///< not every value was known on both sides

  // Sums over the compared values, for the score of explanations.
  double error2 = 0.0, a2 = 0.0, b2 = 0.0, ab = 0.0;

  [[nodiscard]] bool diverges() const { return excess > 1.0; }
};

/// Rotated pairs stand side by side (x0 y0 x1 y1 …) or in halves (x0 x1 … y0 y1 …): GGUF files of
/// Llama have the former, PyTorch the latter.
enum class Pairs : std::uint8_t { kSame, kInterleavedAgainstHalves, kHalvesAgainstInterleaved };

struct DifferenceOptions {
  double tolerance = 1e-4;
  bool centre = false;         ///< subtract each row's mean first (logits)
  int head_dim = 0;            ///< heads' taps: columns per head
  bool weights = false;        ///< keys that one side does not have count as 0
  Pairs pairs = Pairs::kSame;  ///< how a's heads are stored against b's
};

/// Compares one tensor of a with those of b that share positions with it.
Difference difference(const TapValues& a, std::span<const TapValues> b,
                      const DifferenceOptions& options);

/// Per row of a: ‖a − b‖ over the compared values; NaN where nothing is.
std::vector<double> row_errors(const TapValues& a, std::span<const TapValues> b);

/// Column of a's head that column c of b's corresponds to.
int paired_column(Pairs pairs, int c, int head_dim);

}  // namespace layerscope::compare

// Captures: rows of captured tensors by tap, layer and position, whichever pass they came from.
//
// Holds pointers into the passes, which must outlive it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/capture/frame.h"

namespace layerscope::diagnose {

/// One evaluated pass with what it captured.
struct Pass {
  capture::PassCapture captured;
  std::vector<float> logits;  ///< of its last token, [vocab_rows]
};

class Captures {
 public:
  explicit Captures(std::span<const Pass> passes);

  /// One token's row; empty where it was not captured. Not for attention taps.
  [[nodiscard]] std::span<const float> row(capture::Tap tap, int layer, int position) const;
  /// One head's row of attn_scores or attn_weights over every key of the pass, masked ones
  /// included; empty where it was not captured.
  [[nodiscard]] std::span<const float> attention(capture::Tap tap, int layer, int head,
                                                 int position) const;
  /// Positions whose every tap was captured, ascending.
  [[nodiscard]] const std::vector<int>& full_positions() const { return full_; }
  /// A few of them for checks that cost a pass each: the first two, the last of the first pass, the
  /// last two.
  [[nodiscard]] std::vector<int> sample_positions() const;
  [[nodiscard]] int n_positions() const { return static_cast<int>(pass_of_.size()); }
  /// True when the token was evaluated alone after others.
  [[nodiscard]] bool decoded(int position) const;
  [[nodiscard]] const Pass& pass(int position) const {
    return passes_[static_cast<std::size_t>(pass_of_[static_cast<std::size_t>(position)])];
  }
  [[nodiscard]] std::span<const Pass> passes() const { return passes_; }

 private:
  [[nodiscard]] const capture::FullTensor* tensor(capture::Tap tap, int layer, int position) const;

  std::span<const Pass> passes_;
  std::vector<int> pass_of_;  ///< by position
  std::vector<int> full_;
  int n_layers_ = 0;
  /// [pass][(layer + 1) · kNumTaps + tap]
  std::vector<std::vector<const capture::FullTensor*>> index_;
};

}  // namespace layerscope::diagnose

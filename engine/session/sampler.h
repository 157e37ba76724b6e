// Sampling: from logits to the next token, exactly as stated.
//
// Order (that of llama.cpp's default chain, so that settings mean the same): repeat penalty on
// logits → top-k → top-p → min-p → temperature → draw. Probabilities are computed in float64.
// Rows that no text can produce (padding, beyond the token list) are removed first and can never be
// drawn. Stateless: the draw is a function of (seed, position), so that a rewind repeats it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/backend/sampling.h"
#include "engine/base/result.h"
#include "engine/capture/frame.h"

namespace layerscope::session {

using SamplerSettings = backend::Sampling;

/// Errors (kUsage): a value outside its range, named with the range.
Status validate(const SamplerSettings& settings);

struct Candidate {
  std::int32_t id;
  double prob;  ///< after every filter and the temperature; the candidates sum to 1
};

class Sampler {
 public:
  /// `usable(id)` says whether text can produce the row.
  explicit Sampler(std::vector<bool> usable);

  /// The filtered distribution, most likely first. Never empty when any usable logit is finite.
  [[nodiscard]] std::vector<Candidate> distribution(std::span<const float> logits,
                                                    std::span<const std::int32_t> history,
                                                    const SamplerSettings& settings) const;

  /// The next token for the context `history` (whose size is the position drawn for).
  /// Error (kInternal): no usable row has a finite logit.
  [[nodiscard]] Result<std::int32_t> sample(std::span<const float> logits,
                                            std::span<const std::int32_t> history,
                                            const SamplerSettings& settings) const;

  /// Draws from candidates that sum to 1, for context position `position`.
  [[nodiscard]] static std::int32_t pick(std::span<const Candidate> list, std::uint64_t seed,
                                         std::size_t position);

  /// Summary for the window: top tokens, entropy, range, best padded row. Float64 sums.
  [[nodiscard]] capture::LogitSummary summarize(std::span<const float> logits) const;

  /// Rank, probability and logit of `id` within `logits` at temperature 1.
  [[nodiscard]] capture::Choice describe(std::span<const float> logits, std::int32_t id,
                                         capture::Origin origin,
                                         const capture::LogitSummary& summary) const;

 private:
  std::vector<bool> usable_;
};

}  // namespace layerscope::session

// Every threshold of the checks, with where it comes from. u is the unit roundoff of the backend's
// activations (2⁻²⁴ for float32).
//
// Measured over the healthy set (demo model and four goldens, three prompts each, CPU): with u
// divided by 2 nothing is reported, by 4 norms and RoPE are, by 8 sums of the residual stream, by
// 16 soft-max and activation, by 32 scores and row sums, by 64 one projection. Faults exceed their
// thresholds 17 times (scores in float16) or more than 1,000 times (all others).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace layerscope::diagnose::thresholds {

/// Error of a dot product of n terms, per unit of Σ|a·b|. Derived: λ·√n·u holds with probability
/// 1 − 2·exp(−λ²/2) for each dot (Higham & Mary 2019, theorem 3.1); λ = 8 leaves 3e-14.
inline double dot(std::size_t n, double u) {
  return 8.0 * (std::sqrt(static_cast<double>(n)) + 2.0) * u;
}

/// Relative error of one normalised value: mean in float64, then scale, product and weight are
/// rounded (3·u); doubled for backends that also round the mean.
inline double norm(double u) { return 6.0 * u; }

/// Relative error of silu(gate)·up: exponential (4 ulp at most in the vector library), sum,
/// quotient, product.
inline double swiglu(double u) { return 32.0 * u; }

/// Relative error of activation(gate)·up. GELU's exponential or error function sees a rounded
/// argument z, which costs |z|·u (tanh form) or 2·z²·u (exact form), z the argument.
inline double activation(double z, double u) { return swiglu(u) + 8.0 * std::fabs(z) * u; }

/// Relative error of cap·tanh(x / cap): quotient, hyperbolic tangent (2 ulp), product.
inline double tanh(double u) { return 16.0 * u; }

/// Error of a rotated value per |a| + |b|: cosine and sine rounded, two products, one sum.
inline double rope(double u) { return 6.0 * u; }

/// Relative error of a probability exp(s − top)/Σ, or exp(s − log Σ): the rounding of s − top
/// enters as |s − top|·u, that of log Σ (about the top score) as |top|·u, then exponential, sum and
/// quotient.
inline double probability(double distance, double top, double u) {
  return (32.0 + 4.0 * std::fabs(distance) + std::fabs(top)) * u;
}

/// |Σ p − 1| of a row of n probabilities: each is rounded, and so is their sum (8 lanes or more).
/// Where p = exp(s − log Σ), a rounded log Σ adds |log Σ|·u to all of them.
inline double row_sum(std::size_t n, double u) {
  return (32.0 + 8.0 * std::sqrt(static_cast<double>(n))) * u;
}

/// Error of a sum of two numbers, per |a| + |b|.
inline double add(double u) { return 2.0 * u; }

/// Part of the rows that a candidate must explain before it is named. Exact candidates explain all;
/// the rest is room for values near the bound.
inline constexpr double kExplained = 0.995;

/// More bad rows than this part of a tensor and it is the tensor that is wrong, not a channel.
inline constexpr double kFewChannels = 0.02;

/// Evidence in nats (log likelihood ratio) before a sampler is accused: false alarms below e⁻¹⁶.
inline constexpr double kSamplerNats = 16.0;

/// Mean |w| of a norm against the median of the model's norms. Measured: at most 3.1 over the demo
/// model and the goldens; catalogued corrupt files show 7 to 16.
inline constexpr double kNormRatio = 5.0;

/// A cycle counts as a loop from so many repetitions, and from so many tokens in all. Measured:
/// text that the demo model repeats on request stays below both.
inline constexpr int kLoopRepeats = 8;
inline constexpr int kLoopTokens = 24;

/// Largest relative spread (max − min)/|max| of logits that still counts as "all equal": rounding
/// of equal dot products, with room.
inline constexpr double kUniformLogits = 1e-6;

/// Where the thresholds of a check come from, in words for a reader of its findings; empty for a
/// name that is no check's.
std::string_view source_of(std::string_view check);

}  // namespace layerscope::diagnose::thresholds

// Frequencies of the rotary embedding and what is done to them for long contexts.
#include <algorithm>
#include <cmath>

#include "engine/model/weights.h"

namespace layerscope::model {
namespace {

constexpr double kTwoPi = 6.283185307179586;

/// The dimension pair that turns `rotations` times within the original context
/// (Peng et al. 2023, equation 14 solved for the pair).
double pair_of(double rotations, const DecoderSpec& spec, double base) {
  return spec.rope_dim * std::log(spec.rope_original_context / (rotations * kTwoPi)) /
         (2.0 * std::log(base));
}

/// Part of the interpolated frequency that pair i gets: 0 below `low`, 1 above `high`.
double ramp(double i, double low, double high) {
  constexpr double kStep = 0.001;  // where both ends meet, a step
  return std::clamp((i - low) / std::max(kStep, high - low), 0.0, 1.0);
}

}  // namespace

std::vector<double> rope_frequencies(const DecoderSpec& spec, double base) {
  std::vector<double> f(static_cast<std::size_t>(spec.rope_dim / 2));
  const double low =
      std::max(0.0, std::floor(pair_of(spec.yarn_beta_fast, spec, std::max(base, 1.0001))));
  const double high = std::min(
      spec.rope_dim - 1.0, std::ceil(pair_of(spec.yarn_beta_slow, spec, std::max(base, 1.0001))));
  for (std::size_t i = 0; i < f.size(); ++i) {
    const double own = std::pow(base, -2.0 * static_cast<double>(i) / spec.rope_dim);
    const double slowed = own / spec.rope_divisor;
    double part = 0.0;  // of the slowed frequency
    if (spec.rope_scaling == RopeScaling::kLinear) {
      part = 1.0;
    } else if (spec.rope_scaling == RopeScaling::kYarn) {
      part = ramp(static_cast<double>(i), low, high);
    } else if (spec.rope_scaling == RopeScaling::kLlama3) {
      // Rotations within the original context: few are slowed, many are kept.
      const double rotations = spec.rope_original_context * own / kTwoPi;
      part = 1.0 - ramp(rotations, spec.llama3_low, spec.llama3_high);
    }
    f[i] = part == 1.0 ? slowed : own * (1.0 - part) + slowed * part;
  }
  return f;
}

std::vector<double> Weights::frequencies(const DecoderSpec& spec, int context) const {
  if (!spec.long_rope(context)) {
    return inv_freq;
  }
  if (spec.rope_scaling == RopeScaling::kLongRope) {
    return inv_freq_long;
  }
  // The base grows so that the slowest pair turns as far over the whole context as it did over the
  // one of training (transformers, `modeling_rope_utils.py`, "dynamic").
  const double stretch = spec.rope_divisor * context / spec.rope_original_context;
  const double dim = spec.rope_dim;
  const double power = dim > 2.0 ? dim / (dim - 2.0) : 1.0;
  return rope_frequencies(spec,
                          spec.rope_base * std::pow(stretch - (spec.rope_divisor - 1.0), power));
}

}  // namespace layerscope::model

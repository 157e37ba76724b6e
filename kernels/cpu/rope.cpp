// Rotary position embedding (Su et al. 2021). Angles are computed in float64: at position 30,000 a
// float32 product of position and frequency is already off by 1e-3 rad.
#include <cmath>

#include "kernels/ops.h"

namespace layerscope::kernels {

void rope_angles(std::int32_t position, const double* inv_freq, std::size_t n_pairs, float* cos_sin,
                 double factor) {
  for (std::size_t i = 0; i < n_pairs; ++i) {
    const double angle = static_cast<double>(position) * inv_freq[i];
    cos_sin[2 * i] = static_cast<float>(factor * std::cos(angle));
    cos_sin[2 * i + 1] = static_cast<float>(factor * std::sin(angle));
  }
}

void rope_apply(float* head, const float* cos_sin, std::size_t dim, RopePairing pairing) {
  if (pairing == RopePairing::kNone) {
    return;
  }
  const std::size_t n_pairs = dim / 2;
  const std::size_t step = pairing == RopePairing::kHalf ? 1 : 2;
  const std::size_t distance = pairing == RopePairing::kHalf ? n_pairs : 1;
  for (std::size_t i = 0; i < n_pairs; ++i) {
    float& a = head[i * step];
    float& b = head[i * step + distance];
    const float cos = cos_sin[2 * i];
    const float sin = cos_sin[2 * i + 1];
    const float rotated = a * cos - b * sin;
    b = a * sin + b * cos;
    a = rotated;
  }
}

}  // namespace layerscope::kernels

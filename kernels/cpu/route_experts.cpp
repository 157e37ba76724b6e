// Routing of one token to its experts. The lists are short (4 to 256 experts): plain loops.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ops.h"

namespace layerscope::kernels {

void route_experts(const float* logits, std::size_t n, std::size_t k, bool normalise,
                   std::int32_t* chosen, float* weights) {
  float top = -std::numeric_limits<float>::infinity();
  for (std::size_t e = 0; e < n; ++e) {
    top = std::max(top, logits[e]);
  }
  double total = 0.0;
  for (std::size_t e = 0; e < n; ++e) {
    total += std::exp(static_cast<double>(logits[e]) - static_cast<double>(top));
  }
  const auto taken = [&](std::size_t e, std::size_t slots) {
    return std::find(chosen, chosen + slots, static_cast<std::int32_t>(e)) != chosen + slots;
  };
  double sum = 0.0;
  for (std::size_t slot = 0; slot < k; ++slot) {
    std::size_t best = n;
    for (std::size_t e = 0; e < n; ++e) {
      // The negation lets a NaN through, so that k experts are always chosen.
      if (!taken(e, slot) && (best == n || !(logits[e] <= logits[best]))) {
        best = e;
      }
    }
    chosen[slot] = static_cast<std::int32_t>(best);
    const double p = std::exp(static_cast<double>(logits[best]) - static_cast<double>(top)) / total;
    weights[slot] = static_cast<float>(p);
    sum += p;
  }
  for (std::size_t slot = 0; normalise && slot < k; ++slot) {
    weights[slot] = static_cast<float>(static_cast<double>(weights[slot]) / sum);
  }
}

}  // namespace layerscope::kernels

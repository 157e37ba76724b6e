// How the next token is chosen. The session's Sampler says exactly what the numbers mean; a backend
// that chooses tokens itself does the same.
#pragma once

#include <cstdint>

namespace layerscope::backend {

struct Sampling {
  float temperature = 0.0F;     ///< 0 = greedy
  std::int32_t top_k = 40;      ///< 0 = off
  float top_p = 0.95F;          ///< 1 = off
  float min_p = 0.05F;          ///< 0 = off
  float repeat_penalty = 1.0F;  ///< 1 = off; > 0
  std::int32_t repeat_last_n = 64;
  std::uint64_t seed = 0;

  bool operator==(const Sampling&) const = default;
};

}  // namespace layerscope::backend

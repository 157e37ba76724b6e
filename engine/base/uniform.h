// One random number per (seed, position): no generator state, so that a rewind repeats its draws.
#pragma once

#include <cstdint>

namespace layerscope {

/// SplitMix64 (Steele, Lea, Flood 2014): a bijective mixer.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

/// Uniform in [0, 1) with 53 random bits.
constexpr double uniform_at(std::uint64_t seed, std::uint64_t position) {
  return static_cast<double>(mix_bits(mix_bits(seed) ^ position) >> 11U) * 0x1p-53;
}

}  // namespace layerscope

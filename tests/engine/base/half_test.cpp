// Every value of both half types against an oracle in double arithmetic.
#include "engine/base/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <random>

namespace layerscope {
namespace {

/// binary16 by its definition (IEEE 754, section 3.4), in double.
double f16_oracle(std::uint32_t half) {
  const double sign = (half & 0x8000U) != 0 ? -1.0 : 1.0;
  const int exponent = static_cast<int>((half >> 10U) & 0x1FU);
  const double mantissa = static_cast<double>(half & 0x3FFU);
  if (exponent == 31) {
    return mantissa == 0.0 ? sign * HUGE_VAL : std::nan("");
  }
  return exponent == 0 ? sign * std::ldexp(mantissa, -24)
                       : sign * std::ldexp(1024.0 + mantissa, exponent - 25);
}

/// Nearest binary16, ties to even, by comparison with both neighbours.
std::uint32_t f16_nearest(double value) {
  const std::uint32_t sign = std::signbit(value) ? 0x8000U : 0U;
  const double magnitude = std::fabs(value);
  std::uint32_t low = 0;
  std::uint32_t high = 0x7C00;
  while (high - low > 1) {  // the largest finite value that is not above
    const std::uint32_t middle = (low + high) / 2;
    (f16_oracle(middle) <= magnitude ? low : high) = middle;
  }
  const double above = high == 0x7C00 ? 65536.0 : f16_oracle(high);
  const double to_low = magnitude - f16_oracle(low);
  const double to_high = above - magnitude;
  const bool up = to_high < to_low || (to_high == to_low && (low & 1U) != 0);
  return sign | (up ? high : low);
}

TEST(F16, EveryValue_DecodesExactly) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const double want = f16_oracle(bits);
    const double got = f16_to_f32(static_cast<std::uint16_t>(bits));
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got)) << bits;
    } else {
      ASSERT_EQ(got, want) << bits;
      ASSERT_EQ(std::signbit(got), (bits & 0x8000U) != 0) << bits;
    }
  }
}

TEST(F16, EveryValue_RoundTrips) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = f16_to_f32(half);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      ASSERT_EQ(f32_to_f16(value), half);
    }
  }
}

TEST(F16, MidpointsAndTheirNeighbours_RoundToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const double next = bits + 1 == 0x7C00 ? 65536.0 : f16_oracle(bits + 1);
    const auto middle = static_cast<float>((f16_oracle(bits) + next) / 2);
    for (const float value : {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, 1e9F)}) {
      ASSERT_EQ(f32_to_f16(value), f16_nearest(value)) << value;
      ASSERT_EQ(f32_to_f16(-value), f16_nearest(-value)) << value;
    }
  }
}

TEST(F16, RandomFloats_RoundToNearestEven) {
  constexpr unsigned kSeed = 16;
  std::printf("seed %u\n", kSeed);
  std::mt19937 random(kSeed);
  for (int i = 0; i < 200000; ++i) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      ASSERT_EQ(f32_to_f16(value), f16_nearest(value)) << value;
    }
  }
}

TEST(Bf16, EveryValue_DecodesAndRoundTrips) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = bf16_to_f32(half);
    const int exponent = static_cast<int>((bits >> 7U) & 0xFFU);
    const double mantissa = static_cast<double>(bits & 0x7FU);
    if (exponent == 255) {
      ASSERT_EQ(std::isnan(value), mantissa != 0.0);
      ASSERT_EQ(std::isinf(value), mantissa == 0.0);
    } else {
      const double magnitude =
          exponent == 0 ? std::ldexp(mantissa, -133) : std::ldexp(128.0 + mantissa, exponent - 134);
      ASSERT_EQ(value, (bits & 0x8000U) != 0 ? -magnitude : magnitude);
    }
    if (!std::isnan(value)) {
      ASSERT_EQ(f32_to_bf16(value), half);
    } else {
      ASSERT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(value))));
    }
  }
}

TEST(Bf16, TiesAndNeighbours_RoundToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7F80; ++bits) {
    const std::uint32_t tie = (bits << 16U) | 0x8000U;
    const std::uint32_t even = bits + (bits & 1U);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(tie)), even);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(tie - 1)), bits);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(tie + 1)), bits + 1);
  }
}

}  // namespace
}  // namespace layerscope

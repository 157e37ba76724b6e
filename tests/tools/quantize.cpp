#include "tests/tools/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "engine/base/half.h"

namespace layerscope::testing {
namespace {

using Block = std::vector<std::byte>;

void put(Block& b, std::size_t at, unsigned bits) { b[at] |= static_cast<std::byte>(bits & 0xFFU); }

/// Writes the nearest binary16 and gives back what it holds.
float put_half(Block& b, std::size_t at, float value) {
  const std::uint16_t bits = f32_to_f16(value);
  put(b, at, bits);
  put(b, at + 1, bits >> 8U);
  return f16_to_f32(bits);
}

int nearest(float value, float step, int lo, int hi) {
  return step == 0.0F ? std::clamp(0, lo, hi)
                      : std::clamp(static_cast<int>(std::lround(value / step)), lo, hi);
}

struct Range {
  float min = 0.0F, max = 0.0F;  ///< zero included
  [[nodiscard]] float largest() const { return std::max(-min, max); }
};
Range range_of(const float* v, int n) {
  Range r;
  for (int i = 0; i < n; ++i) {
    r.min = std::min(r.min, v[i]);
    r.max = std::max(r.max, v[i]);
  }
  return r;
}

/// 32 codes: low 4 bits packed as halves, a fifth bit apart when `fifth` is given.
void put_codes(Block& b, std::size_t nibbles, const std::array<unsigned, 32>& codes,
               std::size_t fifth = 0) {
  for (std::size_t i = 0; i < 32; ++i) {
    put(b, nibbles + i % 16, (codes[i] & 0xFU) << (i / 16 * 4));
    if (fifth != 0) {
      put(b, fifth + i / 8, (codes[i] >> 4U & 1U) << (i % 8));
    }
  }
}

/// Q4_0, Q5_0: codes around a centre. Q4_1, Q5_1: codes above a minimum.
void encode_32(DType dtype, const float* v, Block& b) {
  const bool five = dtype == DType::kQ5_0 || dtype == DType::kQ5_1;
  const bool minimum = dtype == DType::kQ4_1 || dtype == DType::kQ5_1;
  const int top = five ? 31 : 15;
  const Range r = range_of(v, 32);
  const int centre = minimum ? 0 : (top + 1) / 2;
  const float step = put_half(b, 0,
                              minimum ? (r.max - r.min) / static_cast<float>(top)
                                      : r.largest() / static_cast<float>(centre - 1));
  const float base = minimum ? put_half(b, 2, r.min) : 0.0F;
  std::array<unsigned, 32> codes{};
  for (std::size_t i = 0; i < 32; ++i) {
    codes[i] = static_cast<unsigned>(nearest(v[i] - base, step, -centre, top - centre) + centre);
  }
  const std::size_t head = minimum ? 4 : 2;
  put_codes(b, five ? head + 4 : head, codes, five ? head : 0);
}

void encode_q8_0(const float* v, Block& b) {
  const float step = put_half(b, 0, range_of(v, 32).largest() / 127.0F);
  for (std::size_t i = 0; i < 32; ++i) {
    put(b, 2 + i, static_cast<unsigned>(nearest(v[i], step, -127, 127)));
  }
}

constexpr std::array<int, 16> kNonlinear{-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};
constexpr std::array<int, 16> kE2m1{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

unsigned nearest_level(const std::array<int, 16>& levels, float scaled) {
  unsigned best = 0;
  for (unsigned i = 1; i < 16; ++i) {
    const auto distance = [&](unsigned k) {
      return std::fabs(scaled - static_cast<float>(levels[k]));
    };
    best = distance(i) < distance(best) ? i : best;
  }
  return best;
}

void put_levels(Block& b, std::size_t at, const std::array<int, 16>& levels, const float* v,
                float step) {
  std::array<unsigned, 32> codes{};
  for (std::size_t i = 0; i < 32; ++i) {
    codes[i] = nearest_level(levels, step == 0.0F ? 0.0F : v[i] / step);
  }
  put_codes(b, at, codes);
}

void encode_iq4_nl(const float* v, Block& b) {
  put_levels(b, 2, kNonlinear, v, put_half(b, 0, range_of(v, 32).largest() / 113.0F));
}

void encode_mxfp4(const float* v, Block& b) {
  const float largest = range_of(v, 32).largest();
  const int exponent = largest > 0.0F ? static_cast<int>(std::ceil(std::log2(largest / 6.0F))) : 0;
  const int e = std::clamp(exponent + 127, 2, 254);
  put(b, 0, static_cast<unsigned>(e));
  put_levels(b, 1, kE2m1, v, std::ldexp(1.0F, e - 128));
}

/// The step of a 256-block's scales, which themselves are small integers up to `top`.
template <class PerGroup>
float block_step(int groups, int top, const PerGroup& per_group) {
  float most = 0.0F;
  for (int g = 0; g < groups; ++g) {
    most = std::max(most, per_group(g));
  }
  return most / static_cast<float>(top);
}

void encode_iq4_xs(const float* v, Block& b) {
  const auto wanted = [&](int g) { return range_of(v + 32 * g, 32).largest() / 113.0F; };
  const float d = put_half(b, 0, block_step(8, 31, wanted));
  for (int g = 0; g < 8; ++g) {
    const int scale = nearest(wanted(g), d, 0, 31);
    const auto bits = static_cast<unsigned>(scale + 32);
    put(b, 2 + static_cast<std::size_t>(g) / 4, (bits >> 4U) << (g % 4 * 2));
    put(b, 4 + static_cast<std::size_t>(g) / 2, (bits & 0xFU) << (g % 2 * 4));
    put_levels(b, 8 + static_cast<std::size_t>(g) * 16, kNonlinear, v + 32 * g,
               d * static_cast<float>(scale));
  }
}

/// Q4_K, Q5_K (8 groups of 32, 6-bit scales and minima) and Q2_K (16 of 16, 4-bit).
void encode_k_minimum(DType dtype, const float* v, Block& b) {
  const bool two = dtype == DType::kQ2_K;
  const int groups = two ? 16 : 8;
  const int size = 256 / groups;
  const int top = two ? 3 : dtype == DType::kQ4_K ? 15 : 31;
  const int field_top = two ? 15 : 63;
  const auto wanted_step = [&](int g) {
    const Range r = range_of(v + size * g, size);
    return (r.max - r.min) / static_cast<float>(top);
  };
  const auto wanted_min = [&](int g) { return -range_of(v + size * g, size).min; };
  const float d = put_half(b, two ? 80 : 0, block_step(groups, field_top, wanted_step));
  const float dmin = put_half(b, two ? 82 : 2, block_step(groups, field_top, wanted_min));
  for (int g = 0; g < groups; ++g) {
    const auto at = static_cast<std::size_t>(g);
    const auto scale = static_cast<unsigned>(nearest(wanted_step(g), d, 0, field_top));
    const auto minimum = static_cast<unsigned>(nearest(wanted_min(g), dmin, 0, field_top));
    if (two) {
      put(b, at, scale | (minimum << 4U));
    } else if (g < 4) {
      put(b, 4 + at, scale);
      put(b, 8 + at, minimum);
    } else {
      put(b, 8 + at, (scale & 0xFU) | ((minimum & 0xFU) << 4U));
      put(b, at, (scale >> 4U) << 6U);
      put(b, 4 + at, (minimum >> 4U) << 6U);
    }
    const float step = d * static_cast<float>(scale);
    const float base = dmin * static_cast<float>(minimum);
    for (std::size_t i = at * static_cast<std::size_t>(size);
         i < (at + 1) * static_cast<std::size_t>(size); ++i) {
      const auto code = static_cast<unsigned>(nearest(v[i] + base, step, 0, top));
      if (two) {
        put(b, 16 + i / 128 * 32 + i % 32, code << (i % 128 / 32 * 2));
      } else {
        put(b, (top == 31 ? 48U : 16U) + i / 64 * 32 + i % 32, (code & 0xFU) << (i / 32 % 2 * 4));
        if (top == 31) {
          put(b, 16 + i % 32, (code >> 4U) << (i / 32));
        }
      }
    }
  }
}

/// Q6_K and Q3_K: 16 groups of 16, codes around a centre.
void encode_k_centred(DType dtype, const float* v, Block& b) {
  const bool six = dtype == DType::kQ6_K;
  const int centre = six ? 32 : 4;
  const int field_top = six ? 127 : 31;
  const auto wanted = [&](int g) {
    return range_of(v + 16 * g, 16).largest() / static_cast<float>(centre - 1);
  };
  const float d = put_half(b, six ? 208 : 108, block_step(16, field_top, wanted));
  for (std::size_t g = 0; g < 16; ++g) {
    const int scale = nearest(wanted(static_cast<int>(g)), d, 0, field_top);
    if (six) {
      put(b, 192 + g, static_cast<unsigned>(scale));
    } else {
      const auto bits = static_cast<unsigned>(scale + 32);
      put(b, 96 + g % 8, (bits & 0xFU) << (g / 8 * 4));
      put(b, 104 + g % 4, (bits >> 4U) << (g / 4 * 2));
    }
    for (std::size_t i = g * 16; i < (g + 1) * 16; ++i) {
      const auto code = static_cast<unsigned>(
          nearest(v[i], d * static_cast<float>(scale), -centre, centre - 1) + centre);
      if (six) {
        put(b, i / 128 * 64 + i % 64, (code & 0xFU) << (i % 128 / 64 * 4));
        put(b, 128 + i / 128 * 32 + i % 32, (code >> 4U) << (i % 128 / 32 * 2));
      } else {
        put(b, 32 + i / 128 * 32 + i % 32, (code & 3U) << (i % 128 / 32 * 2));
        put(b, i % 32, (code >> 2U) << (i / 32));
      }
    }
  }
}

Block encode_block(DType dtype, const float* v) {
  Block b(dtype_info(dtype).block_bytes);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(b.data(), v, sizeof(float));
      break;
    case DType::kF16:
    case DType::kBF16: {
      const std::uint16_t bits = dtype == DType::kF16 ? f32_to_f16(*v) : f32_to_bf16(*v);
      std::memcpy(b.data(), &bits, sizeof(bits));
      break;
    }
    case DType::kQ8_0:
      encode_q8_0(v, b);
      break;
    case DType::kIQ4_NL:
      encode_iq4_nl(v, b);
      break;
    case DType::kMXFP4:
      encode_mxfp4(v, b);
      break;
    case DType::kIQ4_XS:
      encode_iq4_xs(v, b);
      break;
    case DType::kQ2_K:
    case DType::kQ4_K:
    case DType::kQ5_K:
      encode_k_minimum(dtype, v, b);
      break;
    case DType::kQ3_K:
    case DType::kQ6_K:
      encode_k_centred(dtype, v, b);
      break;
    default:
      encode_32(dtype, v, b);
  }
  return b;
}

}  // namespace

bool can_quantize(DType dtype) {
  const DTypeInfo& info = dtype_info(dtype);
  return info.decodable &&
         (info.block > 1 || dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16);
}

std::vector<std::byte> quantize(DType dtype, const float* values, std::size_t n) {
  const DTypeInfo& info = dtype_info(dtype);
  std::vector<std::byte> bytes;
  bytes.reserve(dtype_bytes(dtype, n));
  for (std::size_t i = 0; i < n; i += info.block) {
    const Block block = encode_block(dtype, values + i);
    bytes.insert(bytes.end(), block.begin(), block.end());
  }
  return bytes;
}

}  // namespace layerscope::testing

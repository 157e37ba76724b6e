// How the blocks of quantised types are read: scales per group, integer codes per element.
//
// One definition for the plain decoder, the fast products and the CUDA kernels:
//   value(i) = scale(i / kGroup).factor · code(i) − scale(i / kGroup).offset
// with every operation rounded to float32 on its own, in this order; that is what the published
// decoders do, so values agree with them bit by bit. Layouts: GGUF block types (`ggml_type`).
// Blocks may stand at any address.
#pragma once

#include <cstdint>

#include "engine/base/half.h"
#include "kernels/dtype.h"

#ifdef __CUDACC__
#define LS_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define LS_HOST_DEVICE inline
#endif

namespace layerscope::kernels {

using Bytes = const unsigned char*;

/// Of one group of elements.
struct BlockScale {
  float factor;
  float offset;
};

namespace blocks {

/// The binary16 at `p`.
LS_HOST_DEVICE float half_at(Bytes p) {
  const auto bits = static_cast<std::uint16_t>(p[0] | (p[1] << 8U));
#ifdef __CUDA_ARCH__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
#else
  return f16_to_f32(bits);
#endif
}

/// a · b, never fused with an addition.
LS_HOST_DEVICE float times(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

LS_HOST_DEVICE float minus(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fsub_rn(a, b);
#else
  return a - b;
#endif
}

/// Element i of 32 packed as 16 bytes: the low halves first, then the high ones.
LS_HOST_DEVICE int nibble(Bytes codes, int i) {
  return i < 16 ? codes[i] & 0xF : codes[i - 16] >> 4;
}

/// Bit i of 32, as 0 or 16.
LS_HOST_DEVICE int fifth_bit(Bytes bits, int i) { return ((bits[i / 8] >> (i % 8)) & 1) << 4; }

/// The 16 levels of IQ4_NL and IQ4_XS.
LS_HOST_DEVICE int nonlinear_level(int code) {
  constexpr signed char kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113};
  return kLevels[code];
}

/// Twice the E2M1 values (OCP Microscaling Formats 1.0).
LS_HOST_DEVICE int e2m1_level(int code) {
  constexpr signed char kLevels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  return kLevels[code];
}

/// Half of an E8M0 scale: 2^(e − 128).
LS_HOST_DEVICE float half_e8m0(unsigned e) {
  const std::uint32_t bits = e < 2 ? 0x00200000U << e : (e - 1U) << 23U;
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

/// Scale and minimum of group g of Q4_K and Q5_K, 6 bits each in 12 bytes.
struct SixBits {
  int scale, minimum;
};
LS_HOST_DEVICE SixBits six_bits(Bytes p, int g) {
  if (g < 4) {
    return {p[g] & 63, p[g + 4] & 63};
  }
  return {(p[g + 4] & 0xF) | ((p[g - 4] >> 6) << 4), (p[g + 4] >> 4) | ((p[g] >> 6) << 4)};
}

/// Q4_K and Q5_K begin alike: binary16 d, binary16 dmin, 12 bytes of scales and minima.
LS_HOST_DEVICE BlockScale k_scale(Bytes b, int g) {
  const SixBits bits = six_bits(b + 4, g);
  return {times(half_at(b), static_cast<float>(bits.scale)),
          times(half_at(b + 2), static_cast<float>(bits.minimum))};
}

}  // namespace blocks

/// Of each quantised type that can be decoded: kBlock elements in kBytes, kGroup share a scale.
template <DType kType>
struct BlockFormat;

template <>
struct BlockFormat<DType::kQ4_0> {
  static constexpr int kBlock = 32, kGroup = 32, kBytes = 18;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int /*g*/) { return {blocks::half_at(b), 0.0F}; }
  LS_HOST_DEVICE static int code(Bytes b, int i) { return blocks::nibble(b + 2, i) - 8; }
};

template <>
struct BlockFormat<DType::kQ4_1> {
  static constexpr int kBlock = 32, kGroup = 32, kBytes = 20;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int /*g*/) {
    return {blocks::half_at(b), -blocks::half_at(b + 2)};
  }
  LS_HOST_DEVICE static int code(Bytes b, int i) { return blocks::nibble(b + 4, i); }
};

template <>
struct BlockFormat<DType::kQ5_0> {
  static constexpr int kBlock = 32, kGroup = 32, kBytes = 22;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int /*g*/) { return {blocks::half_at(b), 0.0F}; }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    return (blocks::nibble(b + 6, i) | blocks::fifth_bit(b + 2, i)) - 16;
  }
};

template <>
struct BlockFormat<DType::kQ5_1> {
  static constexpr int kBlock = 32, kGroup = 32, kBytes = 24;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int /*g*/) {
    return {blocks::half_at(b), -blocks::half_at(b + 2)};
  }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    return blocks::nibble(b + 8, i) | blocks::fifth_bit(b + 4, i);
  }
};

template <>
struct BlockFormat<DType::kQ8_0> {
  static constexpr int kBlock = 32, kGroup = 32, kBytes = 34;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int /*g*/) { return {blocks::half_at(b), 0.0F}; }
  LS_HOST_DEVICE static int code(Bytes b, int i) { return static_cast<signed char>(b[2 + i]); }
};

/// 16 bytes of 4-bit scales and minima, 64 bytes of 2-bit codes, d, dmin.
template <>
struct BlockFormat<DType::kQ2_K> {
  static constexpr int kBlock = 256, kGroup = 16, kBytes = 84;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int g) {
    return {blocks::times(blocks::half_at(b + 80), static_cast<float>(b[g] & 0xF)),
            blocks::times(blocks::half_at(b + 82), static_cast<float>(b[g] >> 4))};
  }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    return (b[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
  }
};

/// 32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes of 6-bit scales, d.
template <>
struct BlockFormat<DType::kQ3_K> {
  static constexpr int kBlock = 256, kGroup = 16, kBytes = 110;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int g) {
    const Bytes s = b + 96;
    const int low = g < 8 ? s[g] & 0xF : s[g - 8] >> 4;
    const int high = (s[8 + g % 4] >> (g / 4 * 2)) & 3;
    return {blocks::times(blocks::half_at(b + 108), static_cast<float>((low | (high << 4)) - 32)),
            0.0F};
  }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    const int low = (b[32 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
    return low - (((b[i % 32] >> (i / 32)) & 1) != 0 ? 0 : 4);
  }
};

/// d, dmin, 12 bytes of scales, 128 bytes of 4-bit codes.
template <>
struct BlockFormat<DType::kQ4_K> {
  static constexpr int kBlock = 256, kGroup = 32, kBytes = 144;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int g) { return blocks::k_scale(b, g); }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    return (b[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4)) & 0xF;
  }
};

/// As Q4_K, with 32 bytes of fifth bits before the codes.
template <>
struct BlockFormat<DType::kQ5_K> {
  static constexpr int kBlock = 256, kGroup = 32, kBytes = 176;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int g) { return blocks::k_scale(b, g); }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    const int low = (b[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4)) & 0xF;
    return low | (((b[16 + i % 32] >> (i / 32)) & 1) << 4);
  }
};

/// 128 bytes of low 4 bits, 64 bytes of high 2 bits, 16 int8 scales, d.
template <>
struct BlockFormat<DType::kQ6_K> {
  static constexpr int kBlock = 256, kGroup = 16, kBytes = 210;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int g) {
    const auto s = static_cast<float>(static_cast<signed char>(b[192 + g]));
    return {blocks::times(blocks::half_at(b + 208), s), 0.0F};
  }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    const int half = i / 128;
    const int quarter = i % 128 / 32;
    const int low = (b[half * 64 + i % 64] >> (quarter / 2 * 4)) & 0xF;
    const int high = (b[128 + half * 32 + i % 32] >> (quarter * 2)) & 3;
    return (low | (high << 4)) - 32;
  }
};

template <>
struct BlockFormat<DType::kIQ4_NL> {
  static constexpr int kBlock = 32, kGroup = 32, kBytes = 18;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int /*g*/) { return {blocks::half_at(b), 0.0F}; }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    return blocks::nonlinear_level(blocks::nibble(b + 2, i));
  }
};

/// d, 8 · 2 high bits of scales, 8 · 4 low bits, 128 bytes of 4-bit codes.
template <>
struct BlockFormat<DType::kIQ4_XS> {
  static constexpr int kBlock = 256, kGroup = 32, kBytes = 136;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int g) {
    const int low = (b[4 + g / 2] >> (g % 2 * 4)) & 0xF;
    const int high = ((b[2] | (b[3] << 8)) >> (2 * g)) & 3;
    return {blocks::times(blocks::half_at(b), static_cast<float>((low | (high << 4)) - 32)), 0.0F};
  }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    // NOLINTNEXTLINE(bugprone-implicit-widening-of-multiplication-result): at most 136
    return blocks::nonlinear_level(blocks::nibble(b + 8 + i / 32 * 16, i % 32));
  }
};

/// An E8M0 scale, 16 bytes of E2M1 codes (OCP Microscaling Formats 1.0).
template <>
struct BlockFormat<DType::kMXFP4> {
  static constexpr int kBlock = 32, kGroup = 32, kBytes = 17;
  LS_HOST_DEVICE static BlockScale scale(Bytes b, int /*g*/) {
    return {blocks::half_e8m0(b[0]), 0.0F};
  }
  LS_HOST_DEVICE static int code(Bytes b, int i) {
    return blocks::e2m1_level(blocks::nibble(b + 1, i));
  }
};

/// One element.
template <DType kType>
LS_HOST_DEVICE float block_value(Bytes b, int i) {
  const BlockScale s = BlockFormat<kType>::scale(b, i / BlockFormat<kType>::kGroup);
  return blocks::minus(blocks::times(s.factor, static_cast<float>(BlockFormat<kType>::code(b, i))),
                       s.offset);
}

/// Calls f.template operator()<DType>() when `dtype` is a quantised type that can be decoded.
template <class F>
bool for_block_dtype(DType dtype, F&& f) {
  switch (dtype) {
#define LS_CASE(name)                     \
  case DType::name:                       \
    f.template operator()<DType::name>(); \
    return true
    LS_CASE(kQ4_0);
    LS_CASE(kQ4_1);
    LS_CASE(kQ5_0);
    LS_CASE(kQ5_1);
    LS_CASE(kQ8_0);
    LS_CASE(kQ2_K);
    LS_CASE(kQ3_K);
    LS_CASE(kQ4_K);
    LS_CASE(kQ5_K);
    LS_CASE(kQ6_K);
    LS_CASE(kIQ4_NL);
    LS_CASE(kIQ4_XS);
    LS_CASE(kMXFP4);
#undef LS_CASE
    default:
      return false;
  }
}

}  // namespace layerscope::kernels

// Dot products with quantised rows, for matmul.cpp; compiled once per instruction set.
//
// Idea: codes stay integers until they are in registers; per group of 16 or 32 elements one vector
// of partial sums Σ code · x is scaled once. Offsets and code centres (−8, −16, −32) cost one
// multiplication with Σ x per group, which the rows of a tile share. Activations stay float32.
//
// Decode streams each weight once, in tiles of 8 rows. Eight short streams side by side are more
// than the hardware's prefetcher follows (Q8_0: 8.9 GB/s on one core that reads float32 at 24.6),
// so the bytes of the next tile, which lie behind this one, are asked for block by block.
#if defined(LS_KERNELS_CPU_MATMUL_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LS_KERNELS_CPU_MATMUL_BLOCKS_INL_H_
#undef LS_KERNELS_CPU_MATMUL_BLOCKS_INL_H_
#else
#define LS_KERNELS_CPU_MATMUL_BLOCKS_INL_H_
#endif

#include <array>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/block_formats.h"

HWY_BEFORE_NAMESPACE();
namespace layerscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// At most 16 lanes: a vector never crosses the low and high halves of packed bytes.
using DB = hn::CappedTag<float, 16>;
using VB = hn::Vec<DB>;
using DI = hn::Rebind<std::int32_t, DB>;
using VI = hn::Vec<DI>;

HWY_INLINE float half_value(Bytes p) {
  const hn::CappedTag<float, 1> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  return hn::GetLane(hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(p))));
}

/// As many unsigned bytes as a vector has lanes.
HWY_INLINE VI bytes_at(Bytes p) {
  const hn::Rebind<std::uint8_t, DB> d8;
  return hn::PromoteTo(DI(), hn::LoadU(d8, p));
}
HWY_INLINE VI signed_bytes_at(Bytes p) {
  const hn::Rebind<std::int8_t, DB> d8;
  return hn::PromoteTo(DI(), hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(p)));
}
HWY_INLINE VI low_half(VI v) { return hn::And(v, hn::Set(DI(), 0xF)); }
HWY_INLINE VI high_half(VI v) { return hn::ShiftRight<4>(v); }

/// Elements i … of 32 packed as 16 bytes: the low halves first, then the high ones.
HWY_INLINE VI nibbles(Bytes codes, std::size_t i) {
  return i < 16 ? low_half(bytes_at(codes + i)) : high_half(bytes_at(codes + i - 16));
}

/// Bits i … of 32, each as 0 or 16.
HWY_INLINE VI fifth_bits(Bytes p, std::size_t i) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, p, sizeof(bits));
  const VI lane = hn::Iota(DI(), 0);
  const VI word = hn::Set(DI(), static_cast<std::int32_t>((bits >> i) & 0xFFFFU));
  return hn::And(hn::ShiftLeft<4>(hn::Shr(word, lane)), hn::Set(DI(), 16));
}

/// Groups of one block: factors and offsets as BlockFormat::scale gives them.
template <DType kType>
struct GroupScales {
  static constexpr int kGroups = BlockFormat<kType>::kBlock / BlockFormat<kType>::kGroup;
  float factor[kGroups];
  float offset[kGroups];
};

/// Per type: codes(b, i) gives elements i … of a block, from which kCentre has to be taken; kOffset
/// says whether groups have offsets.
template <DType kType>
struct VectorCodes;

template <>
struct VectorCodes<DType::kQ8_0> {
  static constexpr float kCentre = 0.0F;
  static constexpr bool kOffset = false;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ8_0>& out) {
    out.factor[0] = half_value(b);
  }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) { return signed_bytes_at(b + 2 + i); }
};

template <>
struct VectorCodes<DType::kQ4_0> {
  static constexpr float kCentre = 8.0F;
  static constexpr bool kOffset = false;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ4_0>& out) {
    out.factor[0] = half_value(b);
  }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) { return nibbles(b + 2, i); }
};

template <>
struct VectorCodes<DType::kQ4_1> {
  static constexpr float kCentre = 0.0F;
  static constexpr bool kOffset = true;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ4_1>& out) {
    out.factor[0] = half_value(b);
    out.offset[0] = -half_value(b + 2);
  }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) { return nibbles(b + 4, i); }
};

template <>
struct VectorCodes<DType::kQ5_0> {
  static constexpr float kCentre = 16.0F;
  static constexpr bool kOffset = false;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ5_0>& out) {
    out.factor[0] = half_value(b);
  }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) {
    return hn::Or(nibbles(b + 6, i), fifth_bits(b + 2, i));
  }
};

template <>
struct VectorCodes<DType::kQ5_1> {
  static constexpr float kCentre = 0.0F;
  static constexpr bool kOffset = true;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ5_1>& out) {
    out.factor[0] = half_value(b);
    out.offset[0] = -half_value(b + 2);
  }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) {
    return hn::Or(nibbles(b + 8, i), fifth_bits(b + 4, i));
  }
};

/// factor[g] = d · scale, offset[g] = dmin · minimum: the 6-bit fields of Q4_K and Q5_K, four at a
/// time.
template <DType kType>
HWY_INLINE void k_scales(Bytes b, GroupScales<kType>& out) {
  std::uint32_t packed[3];
  std::memcpy(packed, b + 4, sizeof(packed));
  const std::uint32_t fields[4] = {
      packed[0] & 0x3F3F3F3FU,
      (packed[2] & 0x0F0F0F0FU) | (((packed[0] >> 6U) & 0x03030303U) << 4U),
      packed[1] & 0x3F3F3F3FU,
      ((packed[2] >> 4U) & 0x0F0F0F0FU) | (((packed[1] >> 6U) & 0x03030303U) << 4U)};
  unsigned char bytes[16];
  std::memcpy(bytes, fields, sizeof(bytes));
  const hn::CappedTag<float, 8> d;
  const hn::Rebind<std::int32_t, decltype(d)> d32;
  const hn::Rebind<std::uint8_t, decltype(d)> d8;
  const auto factor = hn::Set(d, half_value(b));
  const auto offset = hn::Set(d, half_value(b + 2));
  const auto number = [&](Bytes p) {
    return hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, p)));
  };
  for (std::size_t g = 0; g < 8; g += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(factor, number(bytes + g)), d, out.factor + g);
    hn::StoreU(hn::Mul(offset, number(bytes + 8 + g)), d, out.offset + g);
  }
}

template <>
struct VectorCodes<DType::kQ4_K> {
  static constexpr float kCentre = 0.0F;
  static constexpr bool kOffset = true;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ4_K>& out) { k_scales(b, out); }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) {
    const VI pairs = bytes_at(b + 16 + i / 64 * 32 + i % 32);
    return i / 32 % 2 == 0 ? low_half(pairs) : high_half(pairs);
  }
};

template <>
struct VectorCodes<DType::kQ5_K> {
  static constexpr float kCentre = 0.0F;
  static constexpr bool kOffset = true;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ5_K>& out) { k_scales(b, out); }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) {
    const VI pairs = bytes_at(b + 48 + i / 64 * 32 + i % 32);
    const VI low = i / 32 % 2 == 0 ? low_half(pairs) : high_half(pairs);
    const VI bits = hn::ShiftLeft<4>(bytes_at(b + 16 + i % 32));
    return hn::Or(low,
                  hn::And(hn::ShiftRightSame(bits, static_cast<int>(i / 32)), hn::Set(DI(), 16)));
  }
};

template <>
struct VectorCodes<DType::kQ6_K> {
  static constexpr float kCentre = 32.0F;
  static constexpr bool kOffset = false;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ6_K>& out) {
    const VB d = hn::Set(DB(), half_value(b + 208));
    for (std::size_t g = 0; g < 16; g += hn::Lanes(DB())) {
      hn::StoreU(hn::Mul(d, hn::ConvertTo(DB(), signed_bytes_at(b + 192 + g))), DB(),
                 out.factor + g);
    }
  }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) {
    const std::size_t half = i / 128;
    const std::size_t quarter = i % 128 / 32;
    const VI pairs = bytes_at(b + half * 64 + i % 64);
    const VI low = quarter < 2 ? low_half(pairs) : high_half(pairs);
    const VI bits = hn::ShiftLeft<4>(bytes_at(b + 128 + half * 32 + i % 32));
    return hn::Or(
        low, hn::And(hn::ShiftRightSame(bits, static_cast<int>(2 * quarter)), hn::Set(DI(), 0x30)));
  }
};

template <>
struct VectorCodes<DType::kQ2_K> {
  static constexpr float kCentre = 0.0F;
  static constexpr bool kOffset = true;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ2_K>& out) {
    const VB d = hn::Set(DB(), half_value(b + 80));
    const VB dmin = hn::Set(DB(), half_value(b + 82));
    for (std::size_t g = 0; g < 16; g += hn::Lanes(DB())) {
      const VI pairs = bytes_at(b + g);
      hn::StoreU(hn::Mul(d, hn::ConvertTo(DB(), low_half(pairs))), DB(), out.factor + g);
      hn::StoreU(hn::Mul(dmin, hn::ConvertTo(DB(), high_half(pairs))), DB(), out.offset + g);
    }
  }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) {
    const VI fours = bytes_at(b + 16 + i / 128 * 32 + i % 32);
    return hn::And(hn::ShiftRightSame(fours, static_cast<int>(i % 128 / 32 * 2)), hn::Set(DI(), 3));
  }
};

/// Factors without offsets, group by group.
template <DType kType>
HWY_INLINE void plain_scales(Bytes b, GroupScales<kType>& out) {
  for (int g = 0; g < GroupScales<kType>::kGroups; ++g) {
    out.factor[g] = BlockFormat<kType>::scale(b, g).factor;
  }
}

template <>
struct VectorCodes<DType::kQ3_K> {
  static constexpr float kCentre = 4.0F;
  static constexpr bool kOffset = false;
  static HWY_INLINE void scales(Bytes b, GroupScales<DType::kQ3_K>& out) { plain_scales(b, out); }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) {
    const VI fours = bytes_at(b + 32 + i / 128 * 32 + i % 32);
    const VI low =
        hn::And(hn::ShiftRightSame(fours, static_cast<int>(i % 128 / 32 * 2)), hn::Set(DI(), 3));
    const VI bits = hn::ShiftLeft<2>(bytes_at(b + i % 32));
    return hn::Or(low,
                  hn::And(hn::ShiftRightSame(bits, static_cast<int>(i / 32)), hn::Set(DI(), 4)));
  }
};

HWY_ALIGN constexpr std::int32_t kNonlinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                   1,    13,   25,  38,  53,  69,  89,  113};
HWY_ALIGN constexpr std::int32_t kE2m1[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                              0, -1, -2, -3, -4, -6, -8, -12};

/// table[level], level < 16. Whole tables fit one register of 16 lanes, or two of 8; a gather took
/// ten times as long.
HWY_INLINE VI look_up(const std::int32_t* table, VI level) {
#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
  return hn::GatherIndex(DI(), table, level);
#else
  if constexpr (hn::MaxLanes(DB()) == 16) {
    return hn::TableLookupLanes(hn::Load(DI(), table), hn::IndicesFromVec(DI(), level));
  } else if constexpr (hn::MaxLanes(DB()) == 8) {
    const auto index = hn::IndicesFromVec(DI(), hn::And(level, hn::Set(DI(), 7)));
    return hn::IfThenElse(hn::Gt(level, hn::Set(DI(), 7)),
                          hn::TableLookupLanes(hn::Load(DI(), table + 8), index),
                          hn::TableLookupLanes(hn::Load(DI(), table), index));
  } else {
    return hn::GatherIndex(DI(), table, level);
  }
#endif
}

/// Types whose codes name one of 16 levels; kPacked: where the packed halves begin.
template <DType kType, int kPacked>
struct LevelCodes {
  static constexpr float kCentre = 0.0F;
  static constexpr bool kOffset = false;
  static HWY_INLINE void scales(Bytes b, GroupScales<kType>& out) { plain_scales(b, out); }
  static HWY_INLINE VI codes(Bytes b, std::size_t i) {
    const VI level = nibbles(b + kPacked + i / 32 * 16, i % 32);
    return look_up(kType == DType::kMXFP4 ? kE2m1 : kNonlinear, level);
  }
};
template <>
struct VectorCodes<DType::kIQ4_NL> : LevelCodes<DType::kIQ4_NL, 2> {};
template <>
struct VectorCodes<DType::kIQ4_XS> : LevelCodes<DType::kIQ4_XS, 8> {};
template <>
struct VectorCodes<DType::kMXFP4> : LevelCodes<DType::kMXFP4, 1> {};

/// One group of one row: acc[t] += factor · Σ (code − centre) · x − offset · Σ x.
template <DType kType, int kTokens>
HWY_INLINE void add_group(Bytes b, const GroupScales<kType>& scales, std::size_t g,
                          const std::array<const float*, kTokens>& x, const VB (&x_sum)[kTokens],
                          VB (&acc)[kTokens]) {
  using Codes = VectorCodes<kType>;
  constexpr std::size_t kGroup = BlockFormat<kType>::kGroup;
  const DB d;
  VB partial[kTokens];
  for (std::size_t t = 0; t < kTokens; ++t) {
    partial[t] =
        Codes::kCentre == 0.0F ? hn::Zero(d) : hn::Mul(x_sum[t], hn::Set(d, -Codes::kCentre));
  }
  for (std::size_t i = 0; i < kGroup; i += hn::Lanes(d)) {
    const VB code = hn::ConvertTo(d, Codes::codes(b, g * kGroup + i));
    for (std::size_t t = 0; t < kTokens; ++t) {
      partial[t] = hn::MulAdd(code, hn::LoadU(d, x[t] + i), partial[t]);
    }
  }
  const VB factor = hn::Set(d, scales.factor[g]);
  for (std::size_t t = 0; t < kTokens; ++t) {
    acc[t] = hn::MulAdd(factor, partial[t], acc[t]);
    if (Codes::kOffset) {
      acc[t] = hn::NegMulAdd(hn::Set(d, scales.offset[g]), x_sum[t], acc[t]);
    }
  }
}

/// kRows × kTokens dots. `w[r]` points to a row, `x[t]` to a token's activations.
template <DType kType, int kRows, int kTokens>
HWY_INLINE void dot_blocks(const std::array<const std::byte*, kRows>& w,
                           const std::array<const float*, kTokens>& x, std::size_t cols,
                           float (&sums)[kRows][kTokens]) {
  using Format = BlockFormat<kType>;
  constexpr std::size_t kGroup = Format::kGroup;
  [[maybe_unused]] const std::size_t row_bytes = cols / Format::kBlock * Format::kBytes;
  const DB d;
  VB acc[kRows][kTokens];
  for (auto& row : acc) {
    for (VB& v : row) {
      v = hn::Zero(d);
    }
  }
  for (std::size_t block = 0; block < cols / Format::kBlock; ++block) {
    if (kTokens == 1 && kRows > 1) {
      constexpr std::size_t kStep = static_cast<std::size_t>(kRows) * Format::kBytes;
      const std::byte* ahead = w[0] + kRows * row_bytes + block * kStep;
      for (std::size_t line = 0; line < kStep; line += 64) {
        __builtin_prefetch(ahead + line);  // past the end of the matrix it does nothing
      }
    }
    GroupScales<kType> scales[kRows];
    Bytes b[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      b[r] = reinterpret_cast<Bytes>(w[r]) + block * Format::kBytes;
      VectorCodes<kType>::scales(b[r], scales[r]);
    }
    for (std::size_t g = 0; g < GroupScales<kType>::kGroups; ++g) {
      std::array<const float*, kTokens> group;
      VB x_sum[kTokens];
      for (std::size_t t = 0; t < kTokens; ++t) {
        group[t] = x[t] + block * Format::kBlock + g * kGroup;
        x_sum[t] = hn::Zero(d);
        for (std::size_t i = 0; i < kGroup; i += hn::Lanes(d)) {
          x_sum[t] = hn::Add(x_sum[t], hn::LoadU(d, group[t] + i));
        }
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        add_group<kType, kTokens>(b[r], scales[r], g, group, x_sum, acc[r]);
      }
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t t = 0; t < kTokens; ++t) {
      sums[r][t] = hn::GetLane(hn::SumOfLanes(d, acc[r][t]));
    }
  }
}

}  // namespace layerscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggle

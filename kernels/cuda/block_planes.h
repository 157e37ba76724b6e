// How blocks of quantised types stand in device memory, and what their 16-byte pieces mean.
//
// A row is a sequence of 16-byte pieces of codes. Beside it stand side planes: high bits, scales
// and minima, each a row of words, one for every `sharers` neighbouring pieces. Repacking the
// file's blocks into that is a bijection: every code, scale and minimum is kept, none is rounded.
//   value(element) = scale(half).factor · (code − kCentre) − scale(half).offset
// rounded as block_formats.h does, so that values agree with it bit by bit. Codes are unsigned
// bytes, four to a word, for dp4a. Word w of a piece of 32 elements holds elements 4w … 4w + 3 in
// its low nibbles and 16 + 4w … in its high ones; of Q8_0, 16 elements to a piece, elements
// 4w … 4w + 3. Nothing here needs a GPU: tests/kernels/block_planes_test.cpp runs it on the host.
//
// To add a type: its BlockPlanes below and its name in LS_PLANE_TYPES; tests take it from there.
#pragma once

#include <bit>
#include <cmath>

#include "kernels/block_formats.h"

namespace layerscope::kernels::cuda {

/// `bytes` (4 or 8) for every `sharers` neighbouring pieces.
struct SidePlane {
  int bytes;
  int sharers;
};

/// Two words of four unsigned codes: low and high nibbles (Q8_0: only the first).
struct CodeWords {
  std::uint32_t low;
  std::uint32_t high;
};

namespace planes {

LS_HOST_DEVICE float half_value(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<unsigned short>(bits)));
  return value;
#else
  return f16_to_f32(static_cast<std::uint16_t>(bits & 0xFFFFU));
#endif
}

LS_HOST_DEVICE float float_of(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

LS_HOST_DEVICE std::uint32_t bits_of(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  return std::bit_cast<std::uint32_t>(value);
#endif
}

LS_HOST_DEVICE std::uint32_t half_bits(Bytes p) {
  return static_cast<std::uint32_t>(p[0]) | (static_cast<std::uint32_t>(p[1]) << 8U);
}

/// Left by n, or right by −n.
LS_HOST_DEVICE std::uint32_t shifted(std::uint32_t v, int n) { return n >= 0 ? v << n : v >> -n; }

constexpr std::uint32_t kNibbles = 0x0F0F0F0FU;

LS_HOST_DEVICE CodeWords nibbles(std::uint32_t q) { return {q & kNibbles, (q >> 4U) & kNibbles}; }

/// With the fifth bits: bit 8j + k of `bits` is that of element 4k + j.
LS_HOST_DEVICE CodeWords five_bits(std::uint32_t q, std::uint32_t bits, int w) {
  const CodeWords low = nibbles(q);
  constexpr std::uint32_t kFifth = 0x10101010U;
  return {low.low | (shifted(bits, 4 - w) & kFifth), low.high | (shifted(bits, -w) & kFifth)};
}

/// The scales and minima of two neighbouring pieces, a byte each, then binary16 d and dmin.
LS_HOST_DEVICE BlockScale k_scale(std::uint32_t bytes, std::uint32_t halves, int piece) {
  const std::uint32_t own = bytes >> (piece % 2 * 16);
  return {blocks::times(half_value(halves & 0xFFFFU), static_cast<float>(own & 0xFFU)),
          blocks::times(half_value(halves >> 16U), static_cast<float>((own >> 8U) & 0xFFU))};
}

}  // namespace planes

/// The planes of one type; the common part of the nibble types of 32 elements a piece.
template <DType kType>
struct BlockPlanes;

template <DType kType>
struct NibblePlanes {
  using Format = BlockFormat<kType>;
  static constexpr int kElements = 32;
  static constexpr int kHalves = 1;  ///< groups of a piece with scales of their own
  static constexpr int kCentre = 0;
  static constexpr int kPiecesPerBlock = Format::kBlock / kElements;

  /// The file block of a piece, and where the piece begins in it.
  LS_HOST_DEVICE static Bytes block_of(Bytes row, int piece) {
    return row + static_cast<std::size_t>(piece / kPiecesPerBlock) * Format::kBytes;
  }
  LS_HOST_DEVICE static int first_of(int piece) { return piece % kPiecesPerBlock * kElements; }

  /// Repacking: bits `from` … of four codes, a byte each, of elements first, first + 1, …
  LS_HOST_DEVICE static std::uint32_t four_codes(Bytes row, int piece, int first) {
    std::uint32_t word = 0;
    for (int j = 0; j < 4; ++j) {
      const int code = Format::code(block_of(row, piece), first_of(piece) + first + j) +
                       BlockPlanes<kType>::kCentre;
      word |= static_cast<std::uint32_t>(code) << (8 * j);
    }
    return word;
  }
  LS_HOST_DEVICE static std::uint32_t code_word(Bytes row, int piece, int w) {
    return (four_codes(row, piece, 4 * w) & planes::kNibbles) |
           ((four_codes(row, piece, 16 + 4 * w) & planes::kNibbles) << 4U);
  }
  LS_HOST_DEVICE static std::uint32_t fifth_bits(Bytes row, int piece) {
    std::uint32_t word = 0;
    for (int k = 0; k < 8; ++k) {
      word |= ((four_codes(row, piece, 4 * k) >> 4U) & 0x01010101U) << k;
    }
    return word;
  }
  /// Two neighbouring blocks' binary16 at the blocks' begin; the second 0 beyond the row.
  LS_HOST_DEVICE static std::uint32_t two_halves(Bytes row, int index, int n_blocks) {
    const Bytes b = row + static_cast<std::size_t>(index) * 2 * Format::kBytes;
    return planes::half_bits(b) |
           (2 * index + 1 < n_blocks ? planes::half_bits(b + Format::kBytes) << 16U : 0U);
  }
};

/// A plane of two binary16 scales for two pieces.
template <>
struct BlockPlanes<DType::kQ4_0> : NibblePlanes<DType::kQ4_0> {
  static constexpr int kCentre = 8;
  static constexpr int kSides = 1;
  LS_HOST_DEVICE static constexpr SidePlane side(int /*plane*/) { return {4, 2}; }
  LS_HOST_DEVICE static CodeWords codes(std::uint32_t q, const std::uint32_t* /*side*/, int /*w*/) {
    return planes::nibbles(q);
  }
  LS_HOST_DEVICE static BlockScale scale(const std::uint32_t* side, int piece, int /*half*/) {
    return {planes::half_value(side[0] >> (piece % 2 * 16)), 0.0F};
  }
  LS_HOST_DEVICE static std::uint32_t side_word(Bytes row, int n_blocks, int /*word*/, int index) {
    return two_halves(row, index, n_blocks);
  }
};

/// Scale and minimum as two binary16.
template <>
struct BlockPlanes<DType::kQ4_1> : NibblePlanes<DType::kQ4_1> {
  static constexpr int kSides = 1;
  LS_HOST_DEVICE static constexpr SidePlane side(int /*plane*/) { return {4, 1}; }
  LS_HOST_DEVICE static CodeWords codes(std::uint32_t q, const std::uint32_t* /*side*/, int /*w*/) {
    return planes::nibbles(q);
  }
  LS_HOST_DEVICE static BlockScale scale(const std::uint32_t* side, int /*piece*/, int /*half*/) {
    return {planes::half_value(side[0]), -planes::half_value(side[0] >> 16U)};
  }
  LS_HOST_DEVICE static std::uint32_t side_word(Bytes row, int /*n_blocks*/, int /*word*/,
                                                int index) {
    const Bytes b = block_of(row, index);
    return planes::half_bits(b) | (planes::half_bits(b + 2) << 16U);
  }
};

/// Fifth bits; two binary16 scales for two pieces.
template <>
struct BlockPlanes<DType::kQ5_0> : NibblePlanes<DType::kQ5_0> {
  static constexpr int kCentre = 16;
  static constexpr int kSides = 2;
  LS_HOST_DEVICE static constexpr SidePlane side(int plane) {
    return plane == 0 ? SidePlane{4, 1} : SidePlane{4, 2};
  }
  LS_HOST_DEVICE static CodeWords codes(std::uint32_t q, const std::uint32_t* side, int w) {
    return planes::five_bits(q, side[0], w);
  }
  LS_HOST_DEVICE static BlockScale scale(const std::uint32_t* side, int piece, int /*half*/) {
    return {planes::half_value(side[1] >> (piece % 2 * 16)), 0.0F};
  }
  LS_HOST_DEVICE static std::uint32_t side_word(Bytes row, int n_blocks, int word, int index) {
    return word == 0 ? fifth_bits(row, index) : two_halves(row, index, n_blocks);
  }
};

/// Fifth bits, then scale and minimum, together 8 bytes.
template <>
struct BlockPlanes<DType::kQ5_1> : NibblePlanes<DType::kQ5_1> {
  static constexpr int kSides = 1;
  LS_HOST_DEVICE static constexpr SidePlane side(int /*plane*/) { return {8, 1}; }
  LS_HOST_DEVICE static CodeWords codes(std::uint32_t q, const std::uint32_t* side, int w) {
    return planes::five_bits(q, side[0], w);
  }
  LS_HOST_DEVICE static BlockScale scale(const std::uint32_t* side, int /*piece*/, int /*half*/) {
    return {planes::half_value(side[1]), -planes::half_value(side[1] >> 16U)};
  }
  LS_HOST_DEVICE static std::uint32_t side_word(Bytes row, int /*n_blocks*/, int word, int index) {
    const Bytes b = block_of(row, index);
    return word == 0 ? fifth_bits(row, index)
                     : planes::half_bits(b) | (planes::half_bits(b + 2) << 16U);
  }
};

/// Codes + 128; two binary16 scales for two blocks, which are four pieces.
template <>
struct BlockPlanes<DType::kQ8_0> {
  using Format = BlockFormat<DType::kQ8_0>;
  static constexpr int kElements = 16;
  static constexpr int kHalves = 1;
  static constexpr int kCentre = 128;
  static constexpr int kSides = 1;
  LS_HOST_DEVICE static constexpr SidePlane side(int /*plane*/) { return {4, 4}; }
  LS_HOST_DEVICE static CodeWords codes(std::uint32_t q, const std::uint32_t* /*side*/, int /*w*/) {
    return {q, 0};
  }
  LS_HOST_DEVICE static BlockScale scale(const std::uint32_t* side, int piece, int /*half*/) {
    return {planes::half_value(side[0] >> (piece % 4 / 2 * 16)), 0.0F};
  }
  LS_HOST_DEVICE static std::uint32_t code_word(Bytes row, int piece, int w) {
    const Bytes b = row + static_cast<std::size_t>(piece / 2) * Format::kBytes;
    std::uint32_t word = 0;
    for (int j = 0; j < 4; ++j) {
      const int code = Format::code(b, piece % 2 * 16 + 4 * w + j) + kCentre;
      word |= static_cast<std::uint32_t>(code) << (8 * j);
    }
    return word;
  }
  LS_HOST_DEVICE static std::uint32_t side_word(Bytes row, int n_blocks, int /*word*/, int index) {
    const Bytes b = row + static_cast<std::size_t>(index) * 2 * Format::kBytes;
    return planes::half_bits(b) |
           (2 * index + 1 < n_blocks ? planes::half_bits(b + Format::kBytes) << 16U : 0U);
  }
};

/// Scale and minimum of two pieces as four bytes (6 bits each in the file: 148 bytes for 144);
/// binary16 d and dmin for the eight pieces of a block.
template <DType kType>
struct KMinimumPlanes : NibblePlanes<kType> {
  using Base = NibblePlanes<kType>;
  /// `word` 0: scales and minima, 1: d and dmin.
  LS_HOST_DEVICE static std::uint32_t k_word(Bytes row, int word, int index) {
    if (word == 1) {
      const Bytes b = Base::block_of(row, index * 8);
      return planes::half_bits(b) | (planes::half_bits(b + 2) << 16U);
    }
    std::uint32_t bytes = 0;
    for (int k = 0; k < 2; ++k) {
      const int piece = 2 * index + k;
      const blocks::SixBits six = blocks::six_bits(Base::block_of(row, piece) + 4, piece % 8);
      bytes |=
          (static_cast<std::uint32_t>(six.scale) | (static_cast<std::uint32_t>(six.minimum) << 8U))
          << (16 * k);
    }
    return bytes;
  }
};

template <>
struct BlockPlanes<DType::kQ4_K> : KMinimumPlanes<DType::kQ4_K> {
  static constexpr int kSides = 2;
  LS_HOST_DEVICE static constexpr SidePlane side(int plane) {
    return plane == 0 ? SidePlane{4, 2} : SidePlane{4, 8};
  }
  LS_HOST_DEVICE static CodeWords codes(std::uint32_t q, const std::uint32_t* /*side*/, int /*w*/) {
    return planes::nibbles(q);
  }
  LS_HOST_DEVICE static BlockScale scale(const std::uint32_t* side, int piece, int /*half*/) {
    return planes::k_scale(side[0], side[1], piece);
  }
  LS_HOST_DEVICE static std::uint32_t side_word(Bytes row, int /*n_blocks*/, int word, int index) {
    return k_word(row, word, index);
  }
};

/// As Q4_K, with fifth bits.
template <>
struct BlockPlanes<DType::kQ5_K> : KMinimumPlanes<DType::kQ5_K> {
  static constexpr int kSides = 3;
  LS_HOST_DEVICE static constexpr SidePlane side(int plane) {
    return plane == 0 ? SidePlane{4, 1} : plane == 1 ? SidePlane{4, 2} : SidePlane{4, 8};
  }
  LS_HOST_DEVICE static CodeWords codes(std::uint32_t q, const std::uint32_t* side, int w) {
    return planes::five_bits(q, side[0], w);
  }
  LS_HOST_DEVICE static BlockScale scale(const std::uint32_t* side, int piece, int /*half*/) {
    return planes::k_scale(side[1], side[2], piece);
  }
  LS_HOST_DEVICE static std::uint32_t side_word(Bytes row, int /*n_blocks*/, int word, int index) {
    return word == 0 ? fifth_bits(row, index) : k_word(row, word - 1, index);
  }
};

/// Two high bits of the low-nibble elements and of the others (bits 8j + 2k of element 4k + j of
/// 16); four int8 scales of two pieces, of 16 elements each; d as float32 for the eight pieces of a
/// block (212 bytes for 210).
template <>
struct BlockPlanes<DType::kQ6_K> : NibblePlanes<DType::kQ6_K> {
  static constexpr int kHalves = 2;
  static constexpr int kCentre = 32;
  static constexpr int kSides = 3;
  LS_HOST_DEVICE static constexpr SidePlane side(int plane) {
    return plane == 0 ? SidePlane{8, 1} : plane == 1 ? SidePlane{4, 2} : SidePlane{4, 8};
  }
  LS_HOST_DEVICE static CodeWords codes(std::uint32_t q, const std::uint32_t* side, int w) {
    const CodeWords low = planes::nibbles(q);
    constexpr std::uint32_t kHigh = 0x30303030U;
    return {low.low | (planes::shifted(side[0], 4 - 2 * w) & kHigh),
            low.high | (planes::shifted(side[1], 4 - 2 * w) & kHigh)};
  }
  LS_HOST_DEVICE static BlockScale scale(const std::uint32_t* side, int piece, int half) {
    const std::uint32_t own = side[2] >> (piece % 2 * 16 + half * 8);
    const auto step = static_cast<float>(static_cast<signed char>(own & 0xFFU));
    return {blocks::times(planes::float_of(side[3]), step), 0.0F};
  }
  LS_HOST_DEVICE static std::uint32_t side_word(Bytes row, int /*n_blocks*/, int word, int index) {
    std::uint32_t out = 0;
    if (word < 2) {
      for (int k = 0; k < 4; ++k) {
        out |= ((four_codes(row, index, 16 * word + 4 * k) >> 4U) & 0x03030303U) << (2 * k);
      }
      return out;
    }
    if (word == 3) {
      return planes::bits_of(blocks::half_at(block_of(row, index * 8) + 208));
    }
    const Bytes scales = block_of(row, 2 * index) + 192 + first_of(2 * index) / 16;
    for (int k = 0; k < 4; ++k) {
      out |= static_cast<std::uint32_t>(scales[k]) << (8 * k);
    }
    return out;
  }
};

// ---- Where the planes stand in a row of side words; every plane begins on 16 bytes

/// Words of one plane, rounded up to 16 bytes.
template <DType kType, int kPlane>
LS_HOST_DEVICE int plane_words(int n_pieces) {
  constexpr unsigned kSharers = BlockPlanes<kType>::side(kPlane).sharers;
  constexpr unsigned kWords = BlockPlanes<kType>::side(kPlane).bytes / 4;
  return static_cast<int>(
      ((static_cast<unsigned>(n_pieces) + kSharers - 1) / kSharers * kWords + 3) / 4 * 4);
}

/// First word of side plane `plane`; with `plane` = kSides the words of a row. Written out: a loop
/// was not unrolled, and its divisions cost a third of all instructions of a product.
template <DType kType>
LS_HOST_DEVICE int side_offset(int n_pieces, int plane) {
  constexpr int kSides = BlockPlanes<kType>::kSides;
  int words = plane > 0 ? plane_words<kType, 0>(n_pieces) : 0;
  if constexpr (kSides > 1) {
    words += plane > 1 ? plane_words<kType, 1>(n_pieces) : 0;
  }
  if constexpr (kSides > 2) {
    words += plane > 2 ? plane_words<kType, 2>(n_pieces) : 0;
  }
  return words;
}

/// Words that a piece reads, over all planes.
template <DType kType>
inline constexpr int kSideWords = [] {
  int words = 0;
  for (int p = 0; p < BlockPlanes<kType>::kSides; ++p) {
    words += BlockPlanes<kType>::side(p).bytes / 4;
  }
  return words;
}();

/// The side words of a piece, in the order of the planes.
template <DType kType>
LS_HOST_DEVICE void read_sides(const std::uint32_t* row, int n_pieces, int piece,
                               std::uint32_t* out) {
  using B = BlockPlanes<kType>;
  int at = 0;
  for (int p = 0; p < B::kSides; ++p) {
    const int words = B::side(p).bytes / 4;
    const std::uint32_t* from =
        row + side_offset<kType>(n_pieces, p) + piece / B::side(p).sharers * words;
    for (int k = 0; k < words; ++k) {
      out[at++] = from[k];
    }
  }
}

/// Repacks one piece: its codes, and the side words that begin with it.
template <DType kType>
LS_HOST_DEVICE void repack_piece(Bytes row, int n_blocks, int n_pieces, int piece,
                                 std::uint32_t* codes, std::uint32_t* sides) {
  using B = BlockPlanes<kType>;
  for (int w = 0; w < 4; ++w) {
    codes[4 * piece + w] = B::code_word(row, piece, w);
  }
  int word = 0;
  for (int p = 0; p < B::kSides; ++p) {
    const int words = B::side(p).bytes / 4;
    if (piece % B::side(p).sharers == 0) {
      const int index = piece / B::side(p).sharers;
      for (int k = 0; k < words; ++k) {
        sides[side_offset<kType>(n_pieces, p) + index * words + k] =
            B::side_word(row, n_blocks, word + k, index);
      }
    }
    word += words;
  }
}

/// One element of a piece, as block_value gives it.
template <DType kType>
LS_HOST_DEVICE float plane_value(std::uint32_t code, const BlockScale& s) {
  const int centred = static_cast<int>(code) - BlockPlanes<kType>::kCentre;
  return blocks::minus(blocks::times(s.factor, static_cast<float>(centred)), s.offset);
}

// ---- Activations: blocks of 32 in fixed point of 23 bits, as three signed bytes per element
//
// x = step · (65,536 · d2 + 256 · d1 + d0) within step / 2, step = largest |x| of the block / 2²²:
// as fine as float32 where it matters, in a sum, so that a product with exact codes is as good as
// one in float32 (8-bit activations, as others use, cost 2⁻⁸).

constexpr float kTopDigits = 4194300.0F;

/// 1 / step and step (never subnormal) of a block whose largest magnitude has these bits. Inf and
/// NaN make everything NaN; blocks below 1e-30 become zero.
struct DigitScale {
  float inverse, step;
};
LS_HOST_DEVICE DigitScale digit_scale(std::uint32_t top_bits) {
  if (top_bits >= 0x7F800000U) {
    return {0.0F, planes::float_of(0x7FC00000U)};
  }
  const float step = planes::float_of(top_bits) * (1.0F / kTopDigits);
  if (top_bits < planes::bits_of(1e-30F)) {
    return {0.0F, 0.0F};
  }
#ifdef __CUDA_ARCH__
  float inverse;  // 1 unit in the last place off: as rounding any factor
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(step));
  return {inverse, step};
#else
  return {1.0F / step, step};
#endif
}

/// x / step, rounded, in the low mantissa bits of 1.5 · 2²³.
LS_HOST_DEVICE std::uint32_t fixed_point(float x, float inverse) {
#ifdef __CUDA_ARCH__
  // A NaN's block is NaN by its step; its digits must only be something.
  return __float_as_uint(__fmaf_rn(x, inverse, 12582912.0F));
#else
  return std::bit_cast<std::uint32_t>(std::fma(x, inverse, 12582912.0F));
#endif
}
constexpr std::uint32_t kFixedZero = 0x4B400000U;
/// Three signed bytes d0, d1, d2 from it (byte 3 is noise).
LS_HOST_DEVICE std::uint32_t digits_of(std::uint32_t fixed) {
  return (fixed + 0x00408080U) ^ 0x00808080U;
}

/// The types that have planes.
#define LS_PLANE_TYPES(X) X(kQ4_0) X(kQ4_1) X(kQ5_0) X(kQ5_1) X(kQ8_0) X(kQ4_K) X(kQ5_K) X(kQ6_K)

/// Calls f.template operator()<DType>() for a type that has planes.
template <class F>
bool for_plane_dtype(DType dtype, F&& f) {
  switch (dtype) {
#define LS_CASE(name)                     \
  case DType::name:                       \
    f.template operator()<DType::name>(); \
    return true;
    LS_PLANE_TYPES(LS_CASE)
#undef LS_CASE
    default:
      return false;
  }
}

}  // namespace layerscope::kernels::cuda

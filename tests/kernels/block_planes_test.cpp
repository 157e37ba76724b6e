// The planes of block types, on the host: what the GPU repacks, decodes and multiplies.
#include "kernels/cuda/block_planes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "kernels/ops.h"
#include "tests/support/golden_blocks.h"
#include "tests/tools/quantize.h"

namespace layerscope::kernels::cuda {
namespace {

using layerscope::testing::expect_same_bits;
using layerscope::testing::golden_blocks;

/// Rows of one type in planes.
template <DType kType>
struct Planes {
  using B = BlockPlanes<kType>;
  Planes(const std::vector<std::byte>& blocks, int n_rows, int n_cols)
      : rows(n_rows), cols(n_cols), n_pieces((cols + 31) / 32 * 32 / B::kElements) {
    const int n_blocks = cols / BlockFormat<kType>::kBlock;
    const std::size_t row_bytes = static_cast<std::size_t>(n_blocks) * BlockFormat<kType>::kBytes;
    pitch = side_offset<kType>(n_pieces, B::kSides);
    codes.resize(static_cast<std::size_t>(rows * n_pieces) * 4);
    sides.resize(static_cast<std::size_t>(rows * pitch), 0xDEADBEEFU);
    for (int r = 0; r < rows; ++r) {
      const auto* row =
          reinterpret_cast<Bytes>(blocks.data()) + static_cast<std::size_t>(r) * row_bytes;
      for (int piece = 0; piece < n_pieces; ++piece) {
        repack_piece<kType>(row, n_blocks, n_pieces, piece, codes_of(r), sides_of(r));
      }
    }
  }
  std::uint32_t* codes_of(int r) {
    return codes.data() + static_cast<std::size_t>(r * n_pieces) * 4;
  }
  std::uint32_t* sides_of(int r) { return sides.data() + static_cast<std::size_t>(r * pitch); }

  [[nodiscard]] std::uint32_t code(const std::uint32_t* side, std::uint32_t word, int i) const {
    const CodeWords four = B::codes(word, side, i % 16 / 4);
    return (i < 16 ? four.low : four.high) >> (i % 4 * 8) & 0xFFU;
  }

  int rows, cols, n_pieces, pitch = 0;
  std::vector<std::uint32_t> codes, sides;
};

template <DType kType>
void expect_golden(const std::vector<std::byte>& blocks, const std::vector<float>& values,
                   int cols) {
  using B = BlockPlanes<kType>;
  const int rows = static_cast<int>(values.size()) / cols;
  Planes<kType> planes(blocks, rows, cols);
  std::vector<float> got;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) {
      const int piece = c / B::kElements;
      const int i = c % B::kElements;
      std::uint32_t side[kSideWords<kType>];
      read_sides<kType>(planes.sides_of(r), planes.n_pieces, piece, side);
      got.push_back(
          plane_value<kType>(planes.code(side, planes.codes_of(r)[4 * piece + i % 16 / 4], i),
                             B::scale(side, piece, i / 16 % B::kHalves)));
    }
  }
  const std::vector<float> wanted(values.begin(), values.begin() + rows * cols);
  expect_same_bits(got, wanted, dtype_info(kType).name);
}

TEST(BlockPlanes, EveryType_DecodesBitExactly_WhateverTheRowLength) {
  std::set<DType> seen;
  for (const auto& golden : golden_blocks()) {
    for_plane_dtype(golden.dtype, [&]<DType kType>() {
      const int block = BlockFormat<kType>::kBlock;
      for (const int n : {1, 2, 3, 5}) {
        expect_golden<kType>(golden.blocks, golden.values, n * block);
      }
      seen.insert(golden.dtype);
    });
  }
  EXPECT_EQ(seen.size(), 8U);
}

// ---- The products, as the kernels form them

struct Fixed {
  std::vector<std::int32_t> digits[3];
  std::vector<float> step;  ///< per block of 32
};

Fixed fixed_of(const std::vector<float>& x) {
  Fixed f;
  for (std::size_t at = 0; at < x.size(); at += 32) {
    std::uint32_t top = 0;
    for (std::size_t i = at; i < at + 32; ++i) {
      top = std::max(top, planes::bits_of(x[i]) & 0x7FFFFFFFU);
    }
    const DigitScale scale = digit_scale(top);
    f.step.push_back(scale.step);
    for (std::size_t i = at; i < at + 32; ++i) {
      const std::uint32_t digits = digits_of(fixed_point(x[i], scale.inverse));
      for (int d = 0; d < 3; ++d) {
        f.digits[d].push_back(static_cast<signed char>(digits >> (8 * d) & 0xFFU));
      }
    }
  }
  return f;
}

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 rng(20260101U + seed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<float> v(n);
  for (float& x : v) {
    x = normal(rng);
  }
  return v;
}

TEST(BlockPlanes, Digits_GiveTheActivationBackWithinHalfAStep) {
  for (const float factor : {1.0F, 1e-20F, 3e37F, 1e-3F}) {
    std::vector<float> x = random_values(4096, 1);
    for (float& v : x) {
      v *= factor;
    }
    x[40] *= 50.0F;  // an outlier makes its block's steps wide
    x[40] = std::isfinite(x[40]) ? x[40] : 3e38F;
    x[64] = x[65] = 0.0F;
    const Fixed f = fixed_of(x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = 65536.0 * f.digits[2][i] + 256.0 * f.digits[1][i] + f.digits[0][i];
      const double step = f.step[i / 32];
      ASSERT_LE(std::fabs(v * step - static_cast<double>(x[i])),
                0.51 * step + 2e-7 * std::fabs(static_cast<double>(x[i])))
          << i << " of factor " << factor;
    }
  }
}

TEST(BlockPlanes, Digits_NonFiniteBlocksAreNan_EmptyOnesZero) {
  std::vector<float> x(128, 0.0F);
  x[33] = std::numeric_limits<float>::quiet_NaN();
  x[70] = -std::numeric_limits<float>::infinity();
  x[100] = 1e-33F;
  const Fixed f = fixed_of(x);
  EXPECT_EQ(f.step[0], 0.0F);
  EXPECT_TRUE(std::isnan(f.step[1]));
  EXPECT_TRUE(std::isnan(f.step[2]));
  EXPECT_EQ(f.step[3], 0.0F);
  for (int d = 0; d < 3; ++d) {
    EXPECT_EQ(f.digits[d][0], 0);
    EXPECT_EQ(f.digits[d][100], 0);
  }
}

template <DType kType>
void expect_products(int rows, int cols) {
  using B = BlockPlanes<kType>;
  const auto r_count = static_cast<std::size_t>(rows);
  const auto c_count = static_cast<std::size_t>(cols);
  const auto weights = random_values(r_count * c_count, 2);
  const auto blocks = layerscope::testing::quantize(kType, weights.data(), weights.size());
  const auto x = random_values(c_count, 3);
  const Fixed f = fixed_of(x);
  Planes<kType> planes(blocks, rows, cols);
  const std::size_t row_bytes = blocks.size() / r_count;
  std::vector<float> values(c_count);
  for (int r = 0; r < rows; ++r) {
    dequantize_row(kType, blocks.data() + static_cast<std::size_t>(r) * row_bytes, c_count,
                   values.data());
    double expected = 0.0;
    double norm = 0.0;
    for (std::size_t c = 0; c < c_count; ++c) {
      expected += static_cast<double>(values[c]) * static_cast<double>(x[c]);
      norm += std::pow(static_cast<double>(values[c]) * static_cast<double>(x[c]), 2.0);
    }
    double got = 0.0;
    for (int c = 0; c < cols; ++c) {
      const int piece = c / B::kElements;
      const int i = c % B::kElements;
      std::uint32_t side[kSideWords<kType>];
      read_sides<kType>(planes.sides_of(r), planes.n_pieces, piece, side);
      const std::uint32_t code = planes.code(side, planes.codes_of(r)[4 * piece + i % 16 / 4], i);
      const BlockScale s = B::scale(side, piece, i / 16 % B::kHalves);
      const auto at = static_cast<std::size_t>(c);
      const double v = 65536.0 * f.digits[2][at] + 256.0 * f.digits[1][at] + f.digits[0][at];
      const double weight = static_cast<double>(s.factor) * (static_cast<int>(code) - B::kCentre) -
                            static_cast<double>(s.offset);
      got += weight * v * static_cast<double>(f.step[at / 32]);
    }
    EXPECT_NEAR(got, expected, 3e-7 * std::sqrt(norm) + 1e-12)
        << dtype_info(kType).name << " row " << r;
  }
}

TEST(BlockPlanes, EveryType_ProductOfDigits_IsAsGoodAsFloat32) {
  for (std::uint32_t raw = 0; raw < 64; ++raw) {
    if (const auto info = find_dtype(raw)) {
      for_plane_dtype(info->dtype, [&]<DType kType>() { expect_products<kType>(5, 512); });
    }
  }
}

}  // namespace
}  // namespace layerscope::kernels::cuda

// Every quantised type against blocks that an independent implementation decoded
// (tests/golden/blocks), bit by bit; and numbers that are not blocks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/block_formats.h"
#include "kernels/ops.h"
#include "tests/support/golden_blocks.h"
#include "tests/tools/quantize.h"

namespace layerscope::kernels {
namespace {

using testing::expect_same_bits;
using testing::golden_blocks;
using testing::GoldenBlocks;

TEST(Blocks, EveryQuantisedType_DecodesBitExactly) {
  std::set<DType> seen;
  for (const GoldenBlocks& golden : golden_blocks()) {
    const DTypeInfo& info = dtype_info(golden.dtype);
    EXPECT_TRUE(info.decodable) << info.name;
    std::vector<float> values(golden.values.size());
    // At an odd address, as a mapped file may have it.
    std::vector<std::byte> shifted(golden.blocks.size() + 1);
    std::memcpy(shifted.data() + 1, golden.blocks.data(), golden.blocks.size());
    dequantize_row(golden.dtype, shifted.data() + 1, values.size(), values.data());
    expect_same_bits(values, golden.values, info.name);
    seen.insert(golden.dtype);
  }
  for (std::uint32_t raw = 0; raw < 64; ++raw) {
    const auto info = find_dtype(raw);
    if (info && info->decodable && info->block > 1) {
      EXPECT_TRUE(seen.contains(info->dtype)) << info->name << " has no golden blocks";
    }
  }
}

TEST(Blocks, SingleElements_AreThoseOfTheRow) {
  for (const GoldenBlocks& golden : golden_blocks()) {
    const DTypeInfo& info = dtype_info(golden.dtype);
    std::vector<float> values;
    EXPECT_TRUE(for_block_dtype(golden.dtype, [&]<DType kType>() {
      EXPECT_EQ(BlockFormat<kType>::kBlock, static_cast<int>(info.block));
      EXPECT_EQ(BlockFormat<kType>::kBytes, static_cast<int>(info.block_bytes));
      for (std::size_t i = 0; i < golden.values.size(); ++i) {
        const auto* block =
            reinterpret_cast<Bytes>(golden.blocks.data()) + i / info.block * info.block_bytes;
        values.push_back(block_value<kType>(block, static_cast<int>(i % info.block)));
      }
    }));
    expect_same_bits(values, golden.values, info.name);
  }
}

/// The quantisers of the tests write what the decoder reads: every value comes back within a step.
TEST(Quantize, NormalValues_ComeBackWithinTheTypesError) {
  constexpr std::size_t kValues = 256 * 64;
  std::mt19937 rng(20260502);
  std::normal_distribution<float> normal(0.0F, 0.1F);
  std::vector<float> values(kValues);
  for (float& v : values) {
    v = normal(rng);
  }
  const std::vector<std::pair<DType, double>> bounds{
      {DType::kQ2_K, 0.40},  {DType::kQ3_K, 0.24},   {DType::kQ4_0, 0.12},  {DType::kQ4_1, 0.10},
      {DType::kQ4_K, 0.10},  {DType::kIQ4_NL, 0.11}, {DType::kMXFP4, 0.16}, {DType::kIQ4_XS, 0.11},
      {DType::kQ5_0, 0.06},  {DType::kQ5_1, 0.05},   {DType::kQ5_K, 0.05},  {DType::kQ6_K, 0.025},
      {DType::kQ8_0, 0.008}, {DType::kF16, 3e-4},    {DType::kBF16, 3e-3},  {DType::kF32, 0.0}};
  for (const auto& [dtype, bound] : bounds) {
    const std::vector<std::byte> bytes = testing::quantize(dtype, values.data(), kValues);
    ASSERT_EQ(bytes.size(), dtype_bytes(dtype, kValues));
    std::vector<float> back(kValues);
    dequantize_row(dtype, bytes.data(), kValues, back.data());
    double error = 0.0;
    double power = 0.0;
    for (std::size_t i = 0; i < kValues; ++i) {
      error += std::pow(static_cast<double>(back[i]) - static_cast<double>(values[i]), 2.0);
      power += std::pow(static_cast<double>(values[i]), 2.0);
    }
    EXPECT_LE(std::sqrt(error / power), bound) << dtype_info(dtype).name;
  }
}

template <class T>
void expect_numbers(DType dtype, const std::vector<T>& numbers) {
  std::vector<float> values(numbers.size());
  dequantize_row(dtype, reinterpret_cast<const std::byte*>(numbers.data()), numbers.size(),
                 values.data());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_EQ(values[i], static_cast<float>(numbers[i])) << dtype_info(dtype).name;
  }
}

TEST(Numbers, IntegersAndDoubles_RoundToFloat) {
  expect_numbers<std::int8_t>(DType::kI8, {-128, -1, 0, 127});
  expect_numbers<std::int16_t>(DType::kI16, {-32768, 0, 32767});
  expect_numbers<std::int32_t>(DType::kI32, {std::numeric_limits<std::int32_t>::min(), 16777217});
  expect_numbers<std::int64_t>(DType::kI64, {std::numeric_limits<std::int64_t>::max(), -3});
  expect_numbers<double>(DType::kF64, {0.1, -1e300, 1e-300, 0.5});
}

}  // namespace
}  // namespace layerscope::kernels

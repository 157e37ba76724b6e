// Quantised types on the GPU: decoded bit by bit as on the CPU, and run as models.
#include "kernels/cuda/dequant_blocks.h"
#include "tests/gpu/gpu_support.h"
#include "tests/support/golden_blocks.h"

namespace layerscope::kernels::cuda::testing {
namespace {

using layerscope::testing::expect_same_bits;
using layerscope::testing::golden_blocks;
using layerscope::testing::GoldenBlocks;

TEST(GpuBlocks, EveryQuantisedType_DecodesBitExactly) {
  LS_NEEDS_GPU();
  for (const GoldenBlocks& golden : golden_blocks()) {
    const DTypeInfo& info = dtype_info(golden.dtype);
    EXPECT_TRUE(can_decode_blocks(golden.dtype)) << info.name;
    const std::size_t n = golden.values.size();
    std::vector<std::byte> shifted(golden.blocks.size() + 1);  // at an odd address
    std::copy(golden.blocks.begin(), golden.blocks.end(), shifted.begin() + 1);
    const Device<std::byte> blocks(shifted);
    const Device<float> out(n + 1, kPoison);
    ASSERT_TRUE(launch_decode_blocks(launch_info(), golden.dtype, blocks.get() + 1, n / info.block,
                                     static_cast<int>(info.block), out.get(),
                                     static_cast<int>(info.block))
                    .ok());
    auto got = out.read();
    EXPECT_EQ(got.back(), kPoison);
    got.pop_back();
    expect_same_bits(got, golden.values, info.name);
  }
}

TEST(GpuBlocks, EveryTypeWithPlanes_DequantisesBitExactly) {
  LS_NEEDS_GPU();
  int seen = 0;
  for (std::uint32_t raw = 0; raw < 64; ++raw) {
    const auto info = find_dtype(raw);
    if (!info || !has_planes(info->dtype)) {
      continue;
    }
    ++seen;
    for (const int some_cols : {32, 96, 1056}) {
      const int cols = whole_blocks(info->dtype, some_cols);
      const auto n = static_cast<std::size_t>(cols);
      const TestMatrix w(info->dtype, 13, cols);
      const Device<float> out(13 * n + 1, kPoison);
      const Device<std::uint16_t> halves(13 * n + 1, std::uint16_t{0x7777});
      ASSERT_TRUE(launch_dequantize(launch_info(), w.device(), out.get()).ok());
      ASSERT_TRUE(launch_dequantize_f16(launch_info(), w.device(), halves.get()).ok());
      auto got = out.read();
      const auto half = halves.read();
      EXPECT_EQ(got.back(), kPoison);
      EXPECT_EQ(half.back(), 0x7777);
      got.pop_back();
      std::vector<float> wanted(13 * n);
      for (std::size_t r = 0; r < 13; ++r) {
        dequantize_row(info->dtype, w.host().row(r), n, wanted.data() + r * n);
      }
      expect_same_bits(got, wanted, info->name);
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        ASSERT_EQ(half[i], f32_to_f16(wanted[i])) << info->name << " " << i;
      }
      // Rows of a matrix are those rows.
      const Device<float> part(4 * n, kPoison);
      ASSERT_TRUE(launch_dequantize(launch_info(), matrix_rows(w.device(), 7, 4), part.get()).ok());
      expect_same_bits(part.read(),
                       {wanted.begin() + static_cast<std::ptrdiff_t>(7 * n),
                        wanted.begin() + static_cast<std::ptrdiff_t>(11 * n)},
                       info->name);
    }
  }
  EXPECT_EQ(seen, 8);
}

TEST(GpuBlocks, WiderRows_AreFilledWithZeros) {
  LS_NEEDS_GPU();
  const GoldenBlocks golden = golden_blocks().front();
  const std::size_t block = dtype_info(golden.dtype).block;
  const std::size_t rows = golden.values.size() / block;
  const std::size_t stride = block + 4;
  const Device<std::byte> blocks(golden.blocks);
  const Device<float> out(rows * stride, kPoison);
  ASSERT_TRUE(launch_decode_blocks(launch_info(), golden.dtype, blocks.get(), rows,
                                   static_cast<int>(block), out.get(), static_cast<int>(stride))
                  .ok());
  const auto got = out.read();
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = block; c < stride; ++c) {
      ASSERT_EQ(got[r * stride + c], 0.0F);
    }
  }
}

TEST(GpuBlocks, TypeWithoutBlocks_IsRefused) {
  EXPECT_FALSE(can_decode_blocks(DType::kF16));
  EXPECT_FALSE(can_decode_blocks(DType::kIQ1_S));
  EXPECT_EQ(resident_dtype(DType::kF64), DType::kF32);
  EXPECT_FALSE(launch_decode_blocks({}, DType::kF64, nullptr, 1, 1, nullptr, 1).ok());
}

}  // namespace
}  // namespace layerscope::kernels::cuda::testing

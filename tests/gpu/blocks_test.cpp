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

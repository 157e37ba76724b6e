// Blocks of every quantised type and their values, decoded by an independent implementation
// (tests/golden/blocks/make_blocks.py).
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/dtype.h"

namespace layerscope::testing {

struct GoldenBlocks {
  DType dtype;
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

inline std::vector<GoldenBlocks> golden_blocks() {
  const char* source = std::getenv("LS_SOURCE_DIR");
  std::ifstream file(
      std::string(source != nullptr ? source : ".") + "/tests/golden/blocks/blocks.bin",
      std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  EXPECT_FALSE(bytes.empty()) << "tests/golden/blocks/blocks.bin is missing";
  std::vector<GoldenBlocks> list;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint32_t head[2];
    std::memcpy(head, bytes.data() + at, sizeof(head));
    at += sizeof(head);
    const DTypeInfo info = find_dtype(head[0]).value();
    GoldenBlocks golden{info.dtype, std::vector<std::byte>(head[1] * info.block_bytes),
                        std::vector<float>(head[1] * info.block)};
    std::memcpy(golden.blocks.data(), bytes.data() + at, golden.blocks.size());
    at += golden.blocks.size();
    std::memcpy(golden.values.data(), bytes.data() + at, golden.values.size() * sizeof(float));
    at += golden.values.size() * sizeof(float);
    list.push_back(std::move(golden));
  }
  return list;
}

/// Bit by bit; of NaNs any is as good as another.
inline void expect_same_bits(const std::vector<float>& got, const std::vector<float>& wanted,
                             std::string_view what) {
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(wanted[i])) {
      ASSERT_TRUE(std::isnan(got[i])) << what << " value " << i;
    } else {
      ASSERT_EQ(std::memcmp(&got[i], &wanted[i], sizeof(float)), 0)
          << what << " value " << i << ": " << got[i] << " instead of " << wanted[i];
    }
  }
}

}  // namespace layerscope::testing

// The tensor element types of model files: one table, used by readers, kernels and the inspector.
//
// Numbers, block sizes and byte counts follow the GGUF specification (`ggml_type`). Adding a
// quantised type that can be computed with means: `decodable` in the table, its BlockFormat in
// kernels/block_formats.h, golden blocks in tests/golden/blocks. Every backend then runs it; fast
// products are added beside (kernels/cpu/matmul_formats.h, `resident_dtype` of kernels/cuda).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace layerscope {

/// GGUF type numbers; values outside this list are unknown.
enum class DType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  // Types that only safetensors have. The numbers are ours and never stand in a file.
  kU8 = 1000,
  kU16,
  kU32,
  kU64,
  kBool,
  kC64,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;      ///< As model authors write it: "F16", "Q8_0".
  std::uint32_t block;        ///< Elements per block (1 for plain types).
  std::uint32_t block_bytes;  ///< Bytes per block.
  bool decodable;             ///< Kernels can compute with it.
};

/// The table's row for a GGUF type number, or nothing for an unknown one.
std::optional<DTypeInfo> find_dtype(std::uint32_t raw);

/// The table's row for a known type.
const DTypeInfo& dtype_info(DType dtype);

/// Bytes of `n` elements; `n` must be a multiple of the block size.
inline std::size_t dtype_bytes(DType dtype, std::size_t n) {
  const DTypeInfo& info = dtype_info(dtype);
  return n / info.block * info.block_bytes;
}

}  // namespace layerscope

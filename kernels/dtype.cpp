#include "kernels/dtype.h"

#include <array>
#include <cassert>

namespace layerscope {
namespace {

// Source of block sizes: GGUF specification and the block layouts it refers to.
constexpr std::array<DTypeInfo, 41> kTable{{
    {DType::kF32, "F32", 1, 4, true},
    {DType::kF16, "F16", 1, 2, true},
    {DType::kQ4_0, "Q4_0", 32, 18, true},
    {DType::kQ4_1, "Q4_1", 32, 20, true},
    {DType::kQ5_0, "Q5_0", 32, 22, true},
    {DType::kQ5_1, "Q5_1", 32, 24, true},
    {DType::kQ8_0, "Q8_0", 32, 34, true},
    {DType::kQ8_1, "Q8_1", 32, 36, false},
    {DType::kQ2_K, "Q2_K", 256, 84, true},
    {DType::kQ3_K, "Q3_K", 256, 110, true},
    {DType::kQ4_K, "Q4_K", 256, 144, true},
    {DType::kQ5_K, "Q5_K", 256, 176, true},
    {DType::kQ6_K, "Q6_K", 256, 210, true},
    {DType::kQ8_K, "Q8_K", 256, 292, false},
    {DType::kIQ2_XXS, "IQ2_XXS", 256, 66, false},
    {DType::kIQ2_XS, "IQ2_XS", 256, 74, false},
    {DType::kIQ3_XXS, "IQ3_XXS", 256, 98, false},
    {DType::kIQ1_S, "IQ1_S", 256, 50, false},
    {DType::kIQ4_NL, "IQ4_NL", 32, 18, true},
    {DType::kIQ3_S, "IQ3_S", 256, 110, false},
    {DType::kIQ2_S, "IQ2_S", 256, 82, false},
    {DType::kIQ4_XS, "IQ4_XS", 256, 136, true},
    {DType::kI8, "I8", 1, 1, true},
    {DType::kI16, "I16", 1, 2, true},
    {DType::kI32, "I32", 1, 4, true},
    {DType::kI64, "I64", 1, 8, true},
    {DType::kF64, "F64", 1, 8, true},
    {DType::kIQ1_M, "IQ1_M", 256, 56, false},
    {DType::kBF16, "BF16", 1, 2, true},
    {DType::kTQ1_0, "TQ1_0", 256, 54, false},
    {DType::kTQ2_0, "TQ2_0", 256, 66, false},
    {DType::kMXFP4, "MXFP4", 32, 17, true},
    {DType::kU8, "U8", 1, 1, false},
    {DType::kU16, "U16", 1, 2, false},
    {DType::kU32, "U32", 1, 4, false},
    {DType::kU64, "U64", 1, 8, false},
    {DType::kBool, "BOOL", 1, 1, false},
    {DType::kC64, "C64", 1, 8, false},
    {DType::kF8E4M3, "F8_E4M3", 1, 1, false},
    {DType::kF8E5M2, "F8_E5M2", 1, 1, false},
    {DType::kF8E8M0, "F8_E8M0", 1, 1, false},
}};

}  // namespace

std::optional<DTypeInfo> find_dtype(std::uint32_t raw) {
  for (const DTypeInfo& info : kTable) {
    if (static_cast<std::uint32_t>(info.dtype) == raw && info.dtype < DType::kU8) {
      return info;
    }
  }
  return std::nullopt;
}

const DTypeInfo& dtype_info(DType dtype) {
  for (const DTypeInfo& info : kTable) {
    if (info.dtype == dtype) {
      return info;
    }
  }
  assert(false && "a DType outside the table");
  return kTable[0];
}

}  // namespace layerscope

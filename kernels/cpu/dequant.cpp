// dequantize_row: blocks of any decodable type to float32, plainly; the reference for faster paths.
//
// Data may come straight from a mapped file and so stand at any address: every field is copied.
// Formula of Q8_0 (GGUF block layouts): 32 elements, a binary16 scale d, then 32 int8; value = d ·
// q.
#include <cassert>
#include <cstdint>
#include <cstring>

#include "engine/base/half.h"
#include "kernels/dtype.h"
#include "kernels/ops.h"

namespace layerscope::kernels {
namespace {

std::uint16_t load_u16(const std::byte* data) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, data, sizeof(bits));
  return bits;
}

void dequantize_q8_0(const std::byte* data, std::size_t n, float* out) {
  constexpr std::size_t kBlock = 32;
  constexpr std::size_t kBlockBytes = 2 + kBlock;
  for (std::size_t i = 0; i < n; i += kBlock, data += kBlockBytes) {
    const float scale = f16_to_f32(load_u16(data));
    for (std::size_t j = 0; j < kBlock; ++j) {
      out[i + j] = scale * static_cast<float>(static_cast<std::int8_t>(data[2 + j]));
    }
  }
}

}  // namespace

void dequantize_row(DType dtype, const std::byte* data, std::size_t n, float* out) {
  assert(n % dtype_info(dtype).block == 0);
  switch (dtype) {
    case DType::kF32:
      if (n > 0) {
        std::memcpy(out, data, n * sizeof(float));
      }
      return;
    case DType::kF16:
      for (std::size_t i = 0; i < n; ++i) {
        out[i] = f16_to_f32(load_u16(data + 2 * i));
      }
      return;
    case DType::kBF16:
      for (std::size_t i = 0; i < n; ++i) {
        out[i] = bf16_to_f32(load_u16(data + 2 * i));
      }
      return;
    case DType::kQ8_0:
      dequantize_q8_0(data, n, out);
      return;
    default:
      assert(false && "a type that is not decodable");
  }
}

}  // namespace layerscope::kernels

// dequantize_row: any decodable type to float32, plainly; the reference for faster paths.
//
// Data may come straight from a mapped file and so stand at any address: every field is copied.
// Integers and float64 are rounded to the nearest float32.
#include <cassert>
#include <cstdint>
#include <cstring>

#include "engine/base/half.h"
#include "kernels/block_formats.h"
#include "kernels/dtype.h"
#include "kernels/ops.h"

namespace layerscope::kernels {
namespace {

template <class T, class Convert>
void convert(const std::byte* data, std::size_t n, float* out, const Convert& to_float) {
  for (std::size_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    out[i] = to_float(value);
  }
}

template <class T>
void convert_number(const std::byte* data, std::size_t n, float* out) {
  convert<T>(data, n, out, [](T value) { return static_cast<float>(value); });
}

template <DType kType>
void decode_blocks(const std::byte* data, std::size_t n, float* out) {
  using Format = BlockFormat<kType>;
  const auto* b = reinterpret_cast<Bytes>(data);
  for (std::size_t done = 0; done < n; done += Format::kBlock, b += Format::kBytes) {
    for (int g = 0; g < Format::kBlock / Format::kGroup; ++g) {
      const BlockScale scale = Format::scale(b, g);
      for (int i = g * Format::kGroup; i < (g + 1) * Format::kGroup; ++i) {
        *out++ = scale.factor * static_cast<float>(Format::code(b, i)) - scale.offset;
      }
    }
  }
}

}  // namespace

void dequantize_row(DType dtype, const std::byte* data, std::size_t n, float* out) {
  assert(n % dtype_info(dtype).block == 0);
  switch (dtype) {
    case DType::kF32:
      return convert_number<float>(data, n, out);
    case DType::kF16:
      return convert<std::uint16_t>(data, n, out, f16_to_f32);
    case DType::kBF16:
      return convert<std::uint16_t>(data, n, out, bf16_to_f32);
    case DType::kF64:
      return convert_number<double>(data, n, out);
    case DType::kI8:
      return convert_number<std::int8_t>(data, n, out);
    case DType::kI16:
      return convert_number<std::int16_t>(data, n, out);
    case DType::kI32:
      return convert_number<std::int32_t>(data, n, out);
    case DType::kI64:
      return convert_number<std::int64_t>(data, n, out);
    default:
      break;
  }
  [[maybe_unused]] const bool known =
      for_block_dtype(dtype, [&]<DType kType>() { decode_blocks<kType>(data, n, out); });
  assert(known && "a type that is not decodable");
}

}  // namespace layerscope::kernels

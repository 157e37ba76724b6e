#include "gui/view/quant_block.h"

#include <array>
#include <cstddef>
#include <cstring>

#include "engine/base/half.h"

namespace layerscope::gui::view {
namespace {

using Bytes = const std::byte*;

int u8(Bytes b, int at) { return std::to_integer<int>(b[at]); }
int s8(Bytes b, int at) { return static_cast<std::int8_t>(std::to_integer<std::uint8_t>(b[at])); }
float f16(Bytes b, int at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, b + at, sizeof(bits));
  return f16_to_f32(bits);
}

/// One value as its block says: code, and the scale and minimum that hold for it.
struct Cell {
  int code = 0;
  float scale = 0.0F;
  float minimum = 0.0F;
  int group = 0;
};

int nibble(Bytes qs, int i) {
  const int byte = u8(qs, i % 16);
  return i < 16 ? byte & 15 : byte >> 4;
}

int fifth_bit(Bytes qh, int i) { return (u8(qh, i / 8) >> (i % 8)) & 1; }

/// Six-bit scale and minimum of one of the eight sub-blocks of Q4_K and Q5_K.
void scale_min(Bytes s, int is, int& scale, int& minimum) {
  if (is < 4) {
    scale = u8(s, is) & 63;
    minimum = u8(s, is + 4) & 63;
  } else {
    scale = (u8(s, is + 4) & 15) | ((u8(s, is - 4) >> 6) << 4);
    minimum = (u8(s, is + 4) >> 4) | ((u8(s, is) >> 6) << 4);
  }
}

Cell q2_k(Bytes b, int i) {
  const int half = i / 128;
  const int j = i % 128 / 32;
  const int l = i % 32;
  const int group = half * 8 + j * 2 + l / 16;
  const int packed = u8(b, group);
  return {(u8(b, 16 + half * 32 + l) >> (2 * j)) & 3, f16(b, 80) * static_cast<float>(packed & 15),
          -f16(b, 82) * static_cast<float>(packed >> 4), group};
}

Cell q3_k(Bytes b, int i) {
  const int half = i / 128;
  const int j = i % 128 / 32;
  const int l = i % 32;
  const int group = half * 8 + j * 2 + l / 16;
  const int low = group < 8 ? u8(b, 96 + group) & 15 : u8(b, 96 + group - 8) >> 4;
  const int high = (u8(b, 96 + 8 + group % 4) >> (2 * (group / 4))) & 3;
  const int missing = (u8(b, l) >> (half * 4 + j)) & 1;
  const int code = ((u8(b, 32 + half * 32 + l) >> (2 * j)) & 3) - (missing != 0 ? 0 : 4);
  return {code, f16(b, 108) * static_cast<float>((low | (high << 4)) - 32), 0.0F, group};
}

Cell q4_or_5_k(Bytes b, int i, bool five) {
  const int group = i / 32;
  const int l = i % 32;
  const int packed = u8(b, (five ? 48 : 16) + i / 64 * 32 + l);
  int code = i % 64 < 32 ? packed & 15 : packed >> 4;
  if (five) {
    code += ((u8(b, 16 + l) >> group) & 1) * 16;
  }
  int scale = 0;
  int minimum = 0;
  scale_min(b + 4, group, scale, minimum);
  return {code, f16(b, 0) * static_cast<float>(scale), -f16(b, 2) * static_cast<float>(minimum),
          group};
}

Cell q6_k(Bytes b, int i) {
  const int half = i / 128;
  const int g = i % 128 / 32;
  const int l = i % 32;
  const int low = u8(b, half * 64 + (g % 2) * 32 + l);
  const int high = (u8(b, 128 + half * 32 + l) >> (2 * g)) & 3;
  const int group = half * 8 + l / 16 + 2 * g;
  return {((g < 2 ? low & 15 : low >> 4) | (high << 4)) - 32,
          f16(b, 208) * static_cast<float>(s8(b, 192 + group)), 0.0F, group};
}

constexpr std::array<int, 16> kIq4Values{-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

Cell cell(DType dtype, Bytes b, int i) {
  const float d = f16(b, 0);
  switch (dtype) {
    case DType::kQ4_0:
      return {nibble(b + 2, i) - 8, d, 0.0F, 0};
    case DType::kQ4_1:
      return {nibble(b + 4, i), d, f16(b, 2), 0};
    case DType::kQ5_0:
      return {(nibble(b + 6, i) | (fifth_bit(b + 2, i) << 4)) - 16, d, 0.0F, 0};
    case DType::kQ5_1:
      return {nibble(b + 8, i) | (fifth_bit(b + 4, i) << 4), d, f16(b, 2), 0};
    case DType::kQ8_0:
      return {s8(b, 2 + i), d, 0.0F, 0};
    case DType::kIQ4_NL:
      return {kIq4Values[static_cast<std::size_t>(nibble(b + 2, i))], d, 0.0F, 0};
    case DType::kQ2_K:
      return q2_k(b, i);
    case DType::kQ3_K:
      return q3_k(b, i);
    case DType::kQ4_K:
      return q4_or_5_k(b, i, false);
    case DType::kQ5_K:
      return q4_or_5_k(b, i, true);
    case DType::kQ6_K:
      return q6_k(b, i);
    default:
      return {};
  }
}

/// Values per scale, and where the block's own scale and minimum stand (−1: it has none).
struct Layout {
  DType dtype;
  int group;
  int scale_at, min_at;
};
constexpr std::array<Layout, 11> kLayouts{{
    {DType::kQ4_0, 32, 0, -1},
    {DType::kQ4_1, 32, 0, 2},
    {DType::kQ5_0, 32, 0, -1},
    {DType::kQ5_1, 32, 0, 2},
    {DType::kQ8_0, 32, 0, -1},
    {DType::kIQ4_NL, 32, 0, -1},
    {DType::kQ2_K, 16, 80, 82},
    {DType::kQ3_K, 16, 108, -1},
    {DType::kQ4_K, 32, 0, 2},
    {DType::kQ5_K, 32, 0, 2},
    {DType::kQ6_K, 16, 208, -1},
}};

const Layout* find_layout(DType dtype) {
  for (const Layout& layout : kLayouts) {
    if (layout.dtype == dtype) {
      return &layout;
    }
  }
  return nullptr;
}

}  // namespace

bool has_quant_block(DType dtype) { return find_layout(dtype) != nullptr; }

std::optional<QuantBlock> quant_block(const format::TensorInfo& tensor, std::uint64_t flat) {
  const Layout* layout = find_layout(tensor.dtype);
  const DTypeInfo& type = dtype_info(tensor.dtype);
  if (layout == nullptr || flat >= tensor.n_elements) {
    return std::nullopt;
  }
  QuantBlock out;
  out.block = flat / type.block;
  out.bytes = static_cast<int>(type.block_bytes);
  if ((out.block + 1) * type.block_bytes > tensor.data.size()) {
    return std::nullopt;
  }
  const Bytes bytes = tensor.data.data() + out.block * type.block_bytes;
  out.offset = tensor.offset + out.block * type.block_bytes;
  out.place = static_cast<int>(flat % type.block);
  out.block_scale = f16(bytes, layout->scale_at);
  out.has_minimum = layout->min_at >= 0;
  out.block_min = out.has_minimum ? f16(bytes, layout->min_at) : 0.0F;
  const Cell here = cell(tensor.dtype, bytes, out.place);
  out.code = here.code;
  out.scale = here.scale;
  out.minimum = here.minimum;
  out.group = here.group;
  out.group_first = out.place / layout->group * layout->group;
  for (int i = out.group_first; i < out.group_first + layout->group; ++i) {
    out.codes.push_back(cell(tensor.dtype, bytes, i).code);
  }
  return out;
}

}  // namespace layerscope::gui::view

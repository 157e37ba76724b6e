// Safetensors: the generic container. Model folders, traces and other people's dumps all use it.
//
// Format (huggingface/safetensors, README "Format"): a 64-bit little-endian header length, a JSON
// object {name: {dtype, shape, data_offsets}} with an optional "__metadata__" of strings, then the
// tensors' bytes, without gaps. Everything is checked before use; the result holds views into the
// bytes it was parsed from, which must outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/result.h"

namespace layerscope::format {

struct SafetensorsTensor {
  std::string name;
  std::string dtype;                 ///< as in the file: "F32", "BF16", "I64", …
  std::vector<std::uint64_t> shape;  ///< row-major; empty for a scalar
  std::uint64_t n_elements = 0;      ///< Π shape
  std::uint64_t offset = 0;          ///< bytes from the start of the file
  std::span<const std::byte> data;
};

struct Safetensors {
  std::vector<SafetensorsTensor> tensors;                     ///< in the order of their data
  std::vector<std::pair<std::string, std::string>> metadata;  ///< "__metadata__", by key

  [[nodiscard]] const SafetensorsTensor* find(std::string_view name) const;
  [[nodiscard]] const std::string* find_metadata(std::string_view key) const;
};

/// Longest header that is read; the reference implementation has the same limit.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

/// True when the bytes may be such a file: a plausible header length and an opening brace.
bool looks_like_safetensors(std::span<const std::byte> bytes);

/// Errors (kInvalidInput) start with `file` and name the tensor: a header that is too long, cut
/// short or no JSON, a name twice, an unknown dtype, a shape that does not match its bytes, bytes
/// that overlap, leave a gap or reach past the end (a file cut short).
Result<Safetensors> parse_safetensors(std::span<const std::byte> bytes, const std::string& file);

/// Bytes per element; nothing for a dtype that the format does not define.
std::optional<std::uint64_t> safetensors_dtype_bytes(std::string_view dtype);

/// `count` elements from element `first` as float32 (F64 is rounded, integers above 2²⁴ too).
/// Errors: a dtype without a numeric meaning here (F8, C64), range out of bounds.
Result<std::vector<float>> safetensors_values(const SafetensorsTensor& tensor, std::uint64_t first,
                                              std::uint64_t count);

/// All of a tensor of an integer type, exactly. Errors: another type, a value beyond 63 bits.
Result<std::vector<std::int64_t>> safetensors_integers(const SafetensorsTensor& tensor);

}  // namespace layerscope::format

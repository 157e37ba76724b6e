// The key–value section of a GGUF header.
#include <fmt/format.h>

#include <array>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "engine/format/gguf_parts.h"

namespace layerscope::format::detail {
namespace {

// Value types of the specification (`gguf_metadata_value_type`).
enum class ValueType : std::uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

struct ValueTypeInfo {
  const char* name;
  std::uint64_t min_bytes;  ///< Size of one value; for strings that of the length field.
};

constexpr std::array<ValueTypeInfo, 13> kTypes{{{"u8", 1},
                                                {"i8", 1},
                                                {"u16", 2},
                                                {"i16", 2},
                                                {"u32", 4},
                                                {"i32", 4},
                                                {"f32", 4},
                                                {"bool", 1},
                                                {"string", 8},
                                                {"array", 12},
                                                {"u64", 8},
                                                {"i64", 8},
                                                {"f64", 8}}};

const ValueTypeInfo& info(ValueType type) { return kTypes[static_cast<std::size_t>(type)]; }

Result<ValueType> read_type(ByteReader& reader, const char* what) {
  LS_TRY(const std::uint32_t raw, reader.read<std::uint32_t>(what));
  if (raw >= kTypes.size()) {
    return reader.fail_at(reader.offset() - 4, fmt::format("unknown {} {}", what, raw));
  }
  return static_cast<ValueType>(raw);
}

Result<bool> read_bool(ByteReader& reader) {
  LS_TRY(const auto raw, reader.read<std::uint8_t>("value"));
  if (raw > 1) {
    return reader.fail_at(reader.offset() - 1,
                          fmt::format("a bool is stored as {}, but must be 0 or 1", raw));
  }
  return raw == 1;
}

/// Any number of the file's type T, widened to the variant's type of its kind.
template <typename T>
using Wide =
    std::conditional_t<std::is_floating_point_v<T>, double,
                       std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>>;

template <typename T>
Result<MetaValue> read_number(ByteReader& reader) {
  LS_TRY(const T value, reader.read<T>("value"));
  return MetaValue(static_cast<Wide<T>>(value));
}

/// Calls `visit` with a value of the number type that `type` stands for.
template <typename Visitor>
Result<MetaValue> with_number_type(ValueType type, Visitor&& visit) {
  switch (type) {
    case ValueType::kU8:
      return visit(std::uint8_t{});
    case ValueType::kI8:
      return visit(std::int8_t{});
    case ValueType::kU16:
      return visit(std::uint16_t{});
    case ValueType::kI16:
      return visit(std::int16_t{});
    case ValueType::kU32:
      return visit(std::uint32_t{});
    case ValueType::kI32:
      return visit(std::int32_t{});
    case ValueType::kF32:
      return visit(float{});
    case ValueType::kU64:
      return visit(std::uint64_t{});
    case ValueType::kI64:
      return visit(std::int64_t{});
    case ValueType::kF64:
      return visit(double{});
    case ValueType::kBool:
    case ValueType::kString:
    case ValueType::kArray:
      break;
  }
  return internal_error("not a number type");
}

Result<MetaValue> read_scalar(ByteReader& reader, ValueType type) {
  if (type == ValueType::kBool) {
    LS_TRY(const bool value, read_bool(reader));
    return MetaValue(value);
  }
  if (type == ValueType::kString) {
    LS_TRY(const std::string_view value, reader.read_string("string value", kMaxStringBytes));
    return MetaValue(std::string(value));
  }
  return with_number_type(type, [&](auto kind) { return read_number<decltype(kind)>(reader); });
}

Result<MetaValue> read_strings(ByteReader& reader, std::uint64_t count, bool keep) {
  std::vector<std::string> values;
  values.reserve(keep ? count : 0);  // count was checked: 8 bytes of file for each
  for (std::uint64_t i = 0; i < count; ++i) {
    LS_TRY(const std::string_view value, reader.read_string("array element", kMaxStringBytes));
    if (keep) {
      values.emplace_back(value);
    }
  }
  return MetaValue(std::move(values));
}

Result<MetaValue> read_bools(ByteReader& reader, std::uint64_t count, bool keep) {
  std::vector<bool> values;
  values.reserve(keep ? count : 0);
  for (std::uint64_t i = 0; i < count; ++i) {
    LS_TRY(const bool value, read_bool(reader));
    if (keep) {
      values.push_back(value);
    }
  }
  return MetaValue(std::move(values));
}

template <typename T>
Result<MetaValue> read_numbers(ByteReader& reader, std::uint64_t count, bool keep) {
  LS_TRY(const auto bytes, reader.take(count * sizeof(T), "array"));
  std::vector<Wide<T>> values(keep ? count : 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<Wide<T>>(value);  // NOLINT(bugprone-signed-char-misuse): a number
  }
  return MetaValue(std::move(values));
}

/// Reads an array's header and values; `type_name` becomes "array of …".
Result<MetaValue> read_array(ByteReader& reader, bool keep, std::string& type_name) {
  LS_TRY(const ValueType type, read_type(reader, "array element type"));
  if (type == ValueType::kArray) {
    return reader.fail_at(reader.offset() - 4, "arrays of arrays are not supported");
  }
  type_name = fmt::format("array of {}", info(type).name);
  LS_TRY(const auto count, reader.read<std::uint64_t>("array length"));
  if (count > kMaxArrayElements || count > reader.remaining() / info(type).min_bytes) {
    return reader.fail_at(
        reader.offset() - 8,
        fmt::format("the array claims {} elements of type {}, which cannot stand "
                    "in the {} bytes that follow (or is above {})",
                    count, info(type).name, reader.remaining(), kMaxArrayElements));
  }
  if (type == ValueType::kString) {
    return read_strings(reader, count, keep);
  }
  if (type == ValueType::kBool) {
    return read_bools(reader, count, keep);
  }
  return with_number_type(
      type, [&](auto kind) { return read_numbers<decltype(kind)>(reader, count, keep); });
}

Result<std::string_view> read_key(ByteReader& reader, std::uint64_t i) {
  reader.set_subject(fmt::format("metadata key {}", i));
  const std::uint64_t start = reader.offset();
  LS_TRY(const std::string_view key, reader.read_string("key", kMaxKeyBytes));
  if (key.empty()) {
    return reader.fail_at(start, "the key is empty");
  }
  reader.set_subject("key " + quote_name(key));
  return key;
}

}  // namespace

Status read_metadata(ByteReader& reader, std::uint64_t count, const GgufOptions& options,
                     ModelFile& file) {
  std::unordered_set<std::string_view> seen;  // views into the file
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t start = reader.offset();
    LS_TRY(const std::string_view key, read_key(reader, i));
    if (!seen.insert(key).second) {
      return reader.fail_at(start, "the key appears twice");
    }
    LS_TRY(const ValueType type, read_type(reader, "value type"));
    MetaEntry entry{std::string(key), info(type).name, false};
    if (type == ValueType::kArray) {
      LS_TRY(entry.value, read_array(reader, !options.skip_arrays, entry.type));
      if (options.skip_arrays) {
        continue;
      }
    } else {
      LS_TRY(entry.value, read_scalar(reader, type));
    }
    file.metadata.push_back(std::move(entry));
  }
  reader.set_subject("");
  return {};
}

}  // namespace layerscope::format::detail

// GgufWriter: builds small GGUF files in memory, correct or wrong on purpose.
//
// Written from the specification and independent of the reader. Every part can be replaced: counts
// and version are members, sections are appended as bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace layerscope::testing {

enum GgufType : std::uint32_t {
  kGgufU8 = 0,
  kGgufI8,
  kGgufU16,
  kGgufI16,
  kGgufU32,
  kGgufI32,
  kGgufF32,
  kGgufBool,
  kGgufString,
  kGgufArray,
  kGgufU64,
  kGgufI64,
  kGgufF64,
};

class GgufWriter {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::int64_t extra_keys = 0;     ///< Added to the key count that the header claims.
  std::int64_t extra_tensors = 0;  ///< The same for tensors.

  template <typename T>
  static void put(std::string& out, T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    out.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  static void put_string(std::string& out, std::string_view text) {
    put<std::uint64_t>(out, text.size());
    out.append(text);
  }

  /// A key with any type number and raw value bytes.
  GgufWriter& raw_key(std::string_view key, std::uint32_t type, std::string_view value) {
    put_string(keys_, key);
    put(keys_, type);
    keys_.append(value);
    ++n_keys_;
    return *this;
  }
  template <typename T>
  GgufWriter& key(std::string_view name, std::uint32_t type, T value) {
    std::string bytes;
    put(bytes, value);
    return raw_key(name, type, bytes);
  }
  GgufWriter& u32(std::string_view name, std::uint32_t value) { return key(name, kGgufU32, value); }
  GgufWriter& f32(std::string_view name, float value) { return key(name, kGgufF32, value); }
  GgufWriter& boolean(std::string_view name, bool value) {
    return key<std::uint8_t>(name, kGgufBool, value ? 1 : 0);
  }
  GgufWriter& string(std::string_view name, std::string_view value) {
    std::string bytes;
    put_string(bytes, value);
    return raw_key(name, kGgufString, bytes);
  }
  template <typename T>
  GgufWriter& array(std::string_view name, std::uint32_t type, const std::vector<T>& values) {
    std::string bytes;
    put(bytes, type);
    put<std::uint64_t>(bytes, values.size());
    for (const T& value : values) {
      put(bytes, value);
    }
    return raw_key(name, kGgufArray, bytes);
  }
  GgufWriter& strings(std::string_view name, const std::vector<std::string>& values) {
    std::string bytes;
    put<std::uint32_t>(bytes, kGgufString);
    put<std::uint64_t>(bytes, values.size());
    for (const std::string& value : values) {
      put_string(bytes, value);
    }
    return raw_key(name, kGgufArray, bytes);
  }

  /// A tensor description with any offset; `dims` fastest first, as in the file. No data is added.
  GgufWriter& raw_tensor(std::string_view name, const std::vector<std::uint64_t>& dims,
                         std::uint32_t type, std::uint64_t offset) {
    put_string(infos_, name);
    put(infos_, static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) {
      put(infos_, dim);
    }
    put(infos_, type);
    put(infos_, offset);
    ++n_tensors_;
    return *this;
  }
  /// A tensor at the next aligned offset, with its data.
  GgufWriter& tensor(std::string_view name, const std::vector<std::uint64_t>& dims,
                     std::uint32_t type, std::string_view bytes) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    raw_tensor(name, dims, type, data_.size());
    data_.append(bytes);
    return *this;
  }
  GgufWriter& data(std::string_view bytes) {
    data_.append(bytes);
    return *this;
  }

  /// The file; no padding after the last tensor.
  [[nodiscard]] std::string build() const {
    std::string out = "GGUF";
    put(out, version);
    put(out, static_cast<std::uint64_t>(static_cast<std::int64_t>(n_tensors_) + extra_tensors));
    put(out, static_cast<std::uint64_t>(static_cast<std::int64_t>(n_keys_) + extra_keys));
    out += keys_;
    out += infos_;
    if (!data_.empty()) {
      out.resize((out.size() + alignment - 1) / alignment * alignment);
      out += data_;
    }
    return out;
  }

 private:
  std::string keys_, infos_, data_;
  std::uint64_t n_keys_ = 0, n_tensors_ = 0;
};

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

/// The bytes of numbers, as they lie in a file.
template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

/// A small valid file: a string, an integer, an array of strings, an F32 matrix and a Q8_0 row.
inline GgufWriter small_gguf() {
  GgufWriter writer;
  writer.string("general.architecture", "llama")
      .u32("llama.block_count", 3)
      .strings("words", {"a", "bc"})
      .tensor("m", {2, 3}, 0, bytes_of<float>({1, 2, 3, 4, 5, 6}));
  std::string block("\x00\x38", 2);  // scale 0.5
  for (int i = 0; i < 32; ++i) {
    block += static_cast<char>(i - 16);
  }
  return writer.tensor("q", {32}, 8, block);
}

}  // namespace layerscope::testing

// A bounds-checked cursor over the bytes of a file. Nothing is read, skipped or counted without a
// check against what is left; every failure is one sentence with file, subject and offset.
//
// Owned by one thread, for the time of one parse. The bytes must outlive it and views it gives.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/result.h"

namespace layerscope::format {

static_assert(std::endian::native == std::endian::little,
              "fields are read as the host stores them");

class ByteReader {
 public:
  /// `file` is the name that errors start with.
  ByteReader(std::span<const std::byte> bytes, std::string file)
      : bytes_(bytes), file_(std::move(file)) {}

  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  [[nodiscard]] std::uint64_t remaining() const { return bytes_.size() - offset_; }
  [[nodiscard]] std::uint64_t size() const { return bytes_.size(); }

  /// What is being read now ("key 'general.name'"); errors mention it. Empty: the file as a whole.
  void set_subject(std::string subject) { subject_ = std::move(subject); }

  /// One little-endian number. `what` names the field in the error of a file cut short.
  template <typename T>
  Result<T> read(std::string_view what) {
    if (remaining() < sizeof(T)) {
      return cut_short(sizeof(T), what);
    }
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  /// A 64-bit length and as many bytes; refused when longer than `max_bytes` or than the file.
  Result<std::string_view> read_string(std::string_view what, std::uint64_t max_bytes);

  /// `n` bytes as a view.
  Result<std::span<const std::byte>> take(std::uint64_t n, std::string_view what);

  /// An invalid-input error: `'file': subject: sentence (at offset N)`.
  [[nodiscard]] Error fail(std::string_view sentence) const { return fail_at(offset_, sentence); }
  [[nodiscard]] Error fail_at(std::uint64_t offset, std::string_view sentence) const;
  /// The same without an offset, for findings that concern no single place.
  [[nodiscard]] Error fail_file(std::string_view sentence) const;

 private:
  [[nodiscard]] Error cut_short(std::uint64_t needed, std::string_view what) const;

  std::span<const std::byte> bytes_;
  std::string file_;
  std::string subject_;
  std::uint64_t offset_ = 0;
};

/// a · b, or false when it does not fit 64 bits.
[[nodiscard]] inline bool checked_multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& out) {
  return !__builtin_mul_overflow(a, b, &out);
}
/// a + b, or false when it does not fit 64 bits.
[[nodiscard]] inline bool checked_add(std::uint64_t a, std::uint64_t b, std::uint64_t& out) {
  return !__builtin_add_overflow(a, b, &out);
}

/// A name from a file, for use in a sentence: escaped, and shortened when it is very long.
std::string quote_name(std::string_view name);

}  // namespace layerscope::format

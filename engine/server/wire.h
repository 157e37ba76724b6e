// Wire: little-endian reading and writing of the records between a window and a worker.
//
// A record is u32 length of what follows, u8 type, payload. The reader never trusts a count: what
// does not fit marks it failed, after which everything reads as zero and empty.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace layerscope::server {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "records are written as memory holds them");

class WireWriter {
 public:
  template <typename T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view value) {
    put(static_cast<std::uint32_t>(value.size()));
    bytes_.append(value);
  }
  /// Elements without their number.
  template <typename T, std::size_t kExtent>
  void array(std::span<T, kExtent> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T get() {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    if (failed_ || bytes_.size() < sizeof value) {
      failed_ = true;
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  bool flag() { return get<std::uint8_t>() != 0; }
  /// An integer within [low, high]; anything else fails.
  template <typename T>
  T within(T low, T high) {
    const T value = get<T>();
    if (value < low || value > high) {
      failed_ = true;
      return low;
    }
    return value;
  }
  std::string text(std::size_t most) {
    const auto n = get<std::uint32_t>();
    if (failed_ || n > most || n > bytes_.size()) {
      failed_ = true;
      return {};
    }
    std::string value(bytes_.substr(0, n));
    bytes_.remove_prefix(n);
    return value;
  }
  /// A number of elements that follow, each of at least `least` bytes.
  std::size_t count(std::size_t most, std::size_t least) {
    const auto n = get<std::uint32_t>();
    if (failed_ || n > most || (least > 0 && n > bytes_.size() / least)) {
      failed_ = true;
      return 0;
    }
    return n;
  }
  /// `out.size()` elements.
  template <typename T, std::size_t kExtent>
  void array(std::span<T, kExtent> out) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (failed_ || out.size_bytes() > bytes_.size()) {
      failed_ = true;
      return;
    }
    if (!out.empty()) {  // an empty span may have no address
      std::memcpy(out.data(), bytes_.data(), out.size_bytes());
      bytes_.remove_prefix(out.size_bytes());
    }
  }
  void fail() { failed_ = true; }
  [[nodiscard]] std::size_t left() const { return bytes_.size(); }
  [[nodiscard]] bool ok() const { return !failed_; }
  /// Everything was read and made sense.
  [[nodiscard]] bool complete() const { return !failed_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool failed_ = false;
};

/// One whole record.
struct Record {
  std::uint8_t type = 0;
  std::string payload;
};

/// "length, type, payload"
std::string frame_record(std::uint8_t type, std::string_view payload);

/// Cuts a byte stream into records.
class RecordReader {
 public:
  /// `most`: bytes of the largest record that is taken.
  explicit RecordReader(std::size_t most) : most_(most) {}
  void push(std::string_view bytes) { bytes_ += bytes; }
  /// The next whole record; nothing when more bytes are needed or the stream is broken.
  std::optional<Record> next();
  /// A length was zero or too large: nothing more can be read.
  [[nodiscard]] bool broken() const { return broken_; }
  [[nodiscard]] std::size_t buffered() const { return bytes_.size() - begin_; }

 private:
  const std::size_t most_;
  std::string bytes_;
  std::size_t begin_ = 0;
  bool broken_ = false;
};

}  // namespace layerscope::server

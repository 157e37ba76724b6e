#include "engine/tokenizer/byte_table.h"

#include <array>

#include "engine/base/utf8.h"

namespace layerscope::tokenizer {
namespace {

/// Bytes whose Latin-1 character is visible stand for themselves.
constexpr bool is_visible(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/// The others take U+0100, U+0101, … in order.
constexpr std::array<std::uint16_t, 256> make_table() {
  std::array<std::uint16_t, 256> table{};
  std::uint16_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    table[byte] = is_visible(byte) ? static_cast<std::uint16_t>(byte) : next++;
  }
  return table;
}

constexpr std::array<std::uint16_t, 256> kTable = make_table();
constexpr std::uint32_t kEnd = 0x144;
static_assert(kTable[0xAD] == kEnd - 1);

constexpr std::array<std::int16_t, kEnd> make_reverse() {
  std::array<std::int16_t, kEnd> reverse{};
  for (auto& entry : reverse) {
    entry = -1;
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    reverse[kTable[byte]] = static_cast<std::int16_t>(byte);
  }
  return reverse;
}

constexpr std::array<std::int16_t, kEnd> kReverse = make_reverse();

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

std::uint32_t byte_to_code_point(std::uint8_t byte) { return kTable[byte]; }

int code_point_to_byte(std::uint32_t cp) { return cp < kEnd ? kReverse[cp] : -1; }

std::string bytes_to_piece(std::string_view bytes) {
  std::string piece;
  piece.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    utf8_append(piece, kTable[static_cast<unsigned char>(c)]);
  }
  return piece;
}

std::string piece_to_bytes(std::string_view piece) {
  std::string bytes;
  for (std::size_t pos = 0; pos < piece.size();) {
    const std::size_t start = pos;
    const int byte = code_point_to_byte(utf8_next(piece, pos));
    if (byte >= 0) {
      bytes += static_cast<char>(byte);
    } else {
      bytes.append(piece.substr(start, pos - start));
    }
  }
  return bytes;
}

int parse_byte_token(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') {
    return -1;
  }
  const int high = hex_digit(piece[3]);
  const int low = hex_digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace layerscope::tokenizer

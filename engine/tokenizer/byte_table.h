// GPT-2's reversible mapping between bytes and printable characters, in which byte-level BPE
// vocabularies are written (Radford et al. 2019, `bytes_to_unicode` of the published encoder).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace layerscope::tokenizer {

/// The code point (U+0021 … U+0143) that stands for `byte`.
std::uint32_t byte_to_code_point(std::uint8_t byte);

/// The byte that `cp` stands for, or -1.
int code_point_to_byte(std::uint32_t cp);

/// Bytes in their written form: " é" → "ĠÃ©".
std::string bytes_to_piece(std::string_view bytes);

/// The reverse. Characters outside the mapping, which only tokens added by hand have, stay as they
/// are; so do bytes that are not valid UTF-8.
std::string piece_to_bytes(std::string_view piece);

/// The byte that a token written "<0x0A>" stands for, or -1 when it is not written so.
int parse_byte_token(std::string_view piece);

}  // namespace layerscope::tokenizer

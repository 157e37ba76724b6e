// UTF-8 helpers: validation, cutting at character boundaries, escaping for display.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace layerscope {

/// Length in bytes of the longest prefix of `text` that ends at a character boundary: everything
/// but an incomplete (still possibly valid) multi-byte sequence at the very end.
std::size_t utf8_complete_prefix(std::string_view text);

/// `text` with every byte that is not part of a valid UTF-8 sequence replaced by U+FFFD.
std::string utf8_sanitize(std::string_view text);

/// True when `text` is entirely valid UTF-8 (RFC 3629: no surrogates, no overlong forms).
bool utf8_valid(std::string_view text);

/// Appends code point `cp` as UTF-8.
void utf8_append(std::string& out, std::uint32_t cp);

/// Decodes the code point at `pos` and advances it; an invalid byte gives U+FFFD and advances 1.
std::uint32_t utf8_next(std::string_view text, std::size_t& pos);

/// One-line display form: control characters and invalid bytes as escapes (`\n`, `\t`, `\x1b`).
std::string utf8_escape(std::string_view text);

}  // namespace layerscope

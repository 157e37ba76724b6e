#include "engine/base/utf8.h"

#include <fmt/format.h>

namespace layerscope {
namespace {

/// Length announced by a lead byte, 0 for a byte that cannot lead.
std::size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xC2 && lead <= 0xDF) {
    return 2;
  }
  if (lead >= 0xE0 && lead <= 0xEF) {
    return 3;
  }
  return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

/// How many bytes at `pos` belong to a (possibly cut) valid sequence; sets `whole` when complete.
std::size_t valid_length(std::string_view text, std::size_t pos, bool& whole) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(pos);
  const std::size_t length = sequence_length(lead);
  whole = false;
  if (length == 0) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (pos + i >= text.size()) {
      return i;
    }
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    if (i == 1) {  // RFC 3629, section 4: no overlong forms, no surrogates, at most U+10FFFF
      low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
      high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    }
    if (byte(pos + i) < low || byte(pos + i) > high) {
      return 0;
    }
  }
  whole = true;
  return length;
}

}  // namespace

std::size_t utf8_complete_prefix(std::string_view text) {
  const std::size_t from = text.size() < 3 ? 0 : text.size() - 3;
  for (std::size_t pos = from; pos < text.size(); ++pos) {
    bool whole = false;
    const std::size_t length = valid_length(text, pos, whole);
    if (length > 0 && !whole && pos + length == text.size()) {
      return pos;
    }
  }
  return text.size();
}

std::uint32_t utf8_next(std::string_view text, std::size_t& pos) {
  bool whole = false;
  const std::size_t length = valid_length(text, pos, whole);
  if (!whole) {
    ++pos;
    return 0xFFFD;
  }
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[pos + i]));
  };
  std::uint32_t cp = byte(0);
  if (length == 2) {
    cp = ((cp & 0x1FU) << 6U) | (byte(1) & 0x3FU);
  } else if (length == 3) {
    cp = ((cp & 0x0FU) << 12U) | ((byte(1) & 0x3FU) << 6U) | (byte(2) & 0x3FU);
  } else if (length == 4) {
    cp = ((cp & 0x07U) << 18U) | ((byte(1) & 0x3FU) << 12U) | ((byte(2) & 0x3FU) << 6U) |
         (byte(3) & 0x3FU);
  }
  pos += length;
  return cp;
}

std::string utf8_sanitize(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) {
    bool whole = false;
    const std::size_t length = valid_length(text, pos, whole);
    if (whole) {
      out.append(text.substr(pos, length));
      pos += length;
    } else {
      out += "\xEF\xBF\xBD";
      ++pos;
    }
  }
  return out;
}

bool utf8_valid(std::string_view text) {
  for (std::size_t pos = 0; pos < text.size();) {
    bool whole = false;
    const std::size_t length = valid_length(text, pos, whole);
    if (!whole) {
      return false;
    }
    pos += length;
  }
  return true;
}

void utf8_append(std::string& out, std::uint32_t cp) {
  const auto push = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (cp < 0x80) {
    push(cp);
  } else if (cp < 0x800) {
    push(0xC0U | (cp >> 6U));
    push(0x80U | (cp & 0x3FU));
  } else if (cp < 0x10000) {
    push(0xE0U | (cp >> 12U));
    push(0x80U | ((cp >> 6U) & 0x3FU));
    push(0x80U | (cp & 0x3FU));
  } else {
    push(0xF0U | (cp >> 18U));
    push(0x80U | ((cp >> 12U) & 0x3FU));
    push(0x80U | ((cp >> 6U) & 0x3FU));
    push(0x80U | (cp & 0x3FU));
  }
}

std::string utf8_escape(std::string_view text) {
  std::string out;
  for (std::size_t pos = 0; pos < text.size();) {
    bool whole = false;
    const std::size_t length = valid_length(text, pos, whole);
    const auto byte = static_cast<unsigned char>(text[pos]);
    if (whole && length > 1) {
      out.append(text.substr(pos, length));
      pos += length;
      continue;
    }
    if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (byte == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte >= 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += static_cast<char>(byte);
    }
    ++pos;
  }
  return out;
}

}  // namespace layerscope

// Decompose, sort marks by class, compose (UAX #15, sections 1.3 and D2; Hangul by arithmetic).
//
// Text is taken apart at starters that cannot join what stands before them, so that each part is
// short and knows where it came from.
#include "engine/tokenizer/nfc.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/base/utf8.h"
#include "engine/tokenizer/nfc_tables.h"

namespace layerscope::tokenizer {
namespace {

constexpr std::uint32_t kFirstMark = 0x300;  ///< below, everything is in form C by itself
constexpr std::uint32_t kHangul = 0xAC00, kHangulL = 0x1100, kHangulV = 0x1161, kHangulT = 0x11A7;
constexpr std::uint32_t kHangulNL = 19, kHangulNV = 21, kHangulNT = 28;
constexpr std::uint32_t kHangulN = kHangulNL * kHangulNV * kHangulNT;

int combining_class(std::uint32_t cp) {
  const auto* found =
      std::upper_bound(std::begin(nfc_tables::kClasses), std::end(nfc_tables::kClasses), cp,
                       [](std::uint32_t value, const auto& range) { return value < range.first; });
  if (cp < kFirstMark || found == std::begin(nfc_tables::kClasses)) {
    return 0;
  }
  --found;
  return cp <= found->last ? found->value : 0;
}

template <class Table>
auto find_row(const Table& table, std::uint32_t cp) {
  const auto* found =
      std::lower_bound(std::begin(table), std::end(table), cp,
                       [](const auto& row, std::uint32_t value) { return row.from < value; });
  return found != std::end(table) && found->from == cp ? found : nullptr;
}

void decompose(std::uint32_t cp, std::u32string& out) {
  if (cp >= kHangul && cp < kHangul + kHangulN) {
    const std::uint32_t index = cp - kHangul;
    out += static_cast<char32_t>(kHangulL + index / (kHangulNV * kHangulNT));
    out += static_cast<char32_t>(kHangulV + index % (kHangulNV * kHangulNT) / kHangulNT);
    if (index % kHangulNT != 0) {
      out += static_cast<char32_t>(kHangulT + index % kHangulNT);
    }
  } else if (const auto* single = find_row(nfc_tables::kSingles, cp)) {
    decompose(single->to, out);
  } else if (const auto* pair = find_row(nfc_tables::kPairs, cp)) {
    decompose(pair->first, out);
    out += static_cast<char32_t>(pair->second);
  } else {
    out += static_cast<char32_t>(cp);
  }
}

/// The character that the two make, or 0.
std::uint32_t compose(std::uint32_t first, std::uint32_t second) {
  if (first >= kHangulL && first < kHangulL + kHangulNL && second >= kHangulV &&
      second < kHangulV + kHangulNV) {
    return kHangul + ((first - kHangulL) * kHangulNV + second - kHangulV) * kHangulNT;
  }
  if (first >= kHangul && first < kHangul + kHangulN && (first - kHangul) % kHangulNT == 0 &&
      second > kHangulT && second < kHangulT + kHangulNT) {
    return first + second - kHangulT;
  }
  static const std::vector<const nfc_tables::Pair*> kByParts = [] {
    std::vector<const nfc_tables::Pair*> list;
    for (const nfc_tables::Pair& pair : nfc_tables::kPairs) {
      if (pair.composes) {
        list.push_back(&pair);
      }
    }
    std::sort(list.begin(), list.end(), [](const auto* a, const auto* b) {
      return a->first != b->first ? a->first < b->first : a->second < b->second;
    });
    return list;
  }();
  const auto found = std::lower_bound(kByParts.begin(), kByParts.end(), std::pair(first, second),
                                      [](const auto* pair, const auto& parts) {
                                        return std::pair(pair->first, pair->second) < parts;
                                      });
  const bool same =
      found != kByParts.end() && (*found)->first == first && (*found)->second == second;
  return same ? (*found)->from : 0;
}

std::u32string normalize(const std::u32string& part) {
  std::u32string chars;
  for (const char32_t c : part) {
    decompose(c, chars);
  }
  for (std::size_t begin = 0; begin < chars.size();) {
    std::size_t end = begin + 1;
    while (end < chars.size() && combining_class(chars[end]) != 0) {
      ++end;
    }
    const std::size_t first = combining_class(chars[begin]) == 0 ? begin + 1 : begin;
    std::stable_sort(chars.begin() + static_cast<std::ptrdiff_t>(first),
                     chars.begin() + static_cast<std::ptrdiff_t>(end), [](char32_t a, char32_t b) {
                       return combining_class(a) < combining_class(b);
                     });
    begin = end;
  }
  std::u32string out;
  std::size_t starter = std::u32string::npos;
  int last_class = -1;  // of what stands between the starter and the next character
  for (const char32_t c : chars) {
    const int own = combining_class(c);
    const bool near = starter != std::u32string::npos && (last_class < own || last_class == -1);
    const std::uint32_t made = near ? compose(out[starter], c) : 0;
    if (made != 0) {
      out[starter] = made;
      continue;
    }
    if (own == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = own;
    }
    out += c;
  }
  return out;
}

/// A starter that no rule joins to what stands before it.
bool begins_part(std::uint32_t cp) {
  if (cp < kFirstMark) {
    return true;
  }
  const bool jamo =
      (cp >= kHangulV && cp < kHangulV + kHangulNV) || (cp > kHangulT && cp < kHangulT + kHangulNT);
  if (jamo || combining_class(cp) != 0) {
    return false;
  }
  std::u32string parts;
  decompose(cp, parts);
  if (combining_class(parts[0]) != 0) {
    return false;
  }
  // A few starters are the second half of a pair (Indic vowel signs).
  static const std::vector<std::uint32_t> kSeconds = [] {
    std::vector<std::uint32_t> list;
    for (const nfc_tables::Pair& pair : nfc_tables::kPairs) {
      list.push_back(pair.second);
    }
    std::sort(list.begin(), list.end());
    return list;
  }();
  return !std::binary_search(kSeconds.begin(), kSeconds.end(), parts[0]);
}

}  // namespace

std::optional<Normalized> to_nfc(std::string_view text) {
  // Two-byte sequences up to U+02FF begin with 0xC2 … 0xCB; all marks stand above.
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
  if (plain) {
    return std::nullopt;
  }
  Normalized out;
  bool changed = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t begin = pos;
    std::u32string part;
    bool valid = true;
    while (pos < text.size()) {
      std::size_t next = pos;
      const std::uint32_t cp = utf8_next(text, next);
      const bool lone = next == pos + 1 && static_cast<unsigned char>(text[pos]) >= 0x80;
      if (pos > begin && (lone || begins_part(cp))) {
        break;
      }
      part += static_cast<char32_t>(cp);
      pos = next;
      valid = !lone;
      if (lone) {
        break;
      }
    }
    std::string bytes;
    if (valid) {
      for (const char32_t c : normalize(part)) {
        utf8_append(bytes, c);
      }
    }
    const std::string_view original = text.substr(begin, pos - begin);
    const bool same = !valid || bytes == original;
    changed = changed || !same;
    out.text += same ? original : std::string_view(bytes);
    for (std::size_t i = 0; out.origin.size() < out.text.size(); ++i) {
      out.origin.push_back(same ? begin + i : begin);
    }
  }
  return changed ? std::optional(std::move(out)) : std::nullopt;
}

}  // namespace layerscope::tokenizer

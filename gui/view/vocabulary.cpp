#include "gui/view/vocabulary.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <string>

#include "gui/view/text.h"

namespace layerscope::gui::view {

std::vector<std::int32_t> search_vocabulary(const tokenizer::Tokenizer& tokenizer,
                                            std::string_view needle, int limit) {
  std::vector<std::int32_t> found;
  if (needle.empty() || limit <= 0) {
    return found;
  }
  std::string_view digits = needle;
  if (digits.front() == '#') {
    digits.remove_prefix(1);
  }
  std::int32_t id = -1;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, id);
  if (parsed.ec == std::errc() && parsed.ptr == end && tokenizer.is_usable(id)) {
    found.push_back(id);
  } else {
    id = -1;
  }
  std::array<std::vector<std::int32_t>, 3> groups;
  for (std::int32_t token = 0; token < tokenizer.n_tokens(); ++token) {
    if (token == id || !tokenizer.is_usable(token)) {
      continue;
    }
    const std::string bytes = token_bytes(&tokenizer, token);
    std::string_view bare = bytes;
    if (bare.size() > 1 && bare.front() == ' ') {
      bare.remove_prefix(1);
    }
    if (bytes == needle || bare == needle) {
      groups[0].push_back(token);
    } else if (bare.starts_with(needle) || std::string_view(bytes).starts_with(needle)) {
      groups[1].push_back(token);
    } else if (groups[2].size() < static_cast<std::size_t>(limit) && contains_ci(bytes, needle)) {
      groups[2].push_back(token);
    }
  }
  for (const std::vector<std::int32_t>& group : groups) {
    for (const std::int32_t token : group) {
      if (static_cast<int>(found.size()) < limit) {
        found.push_back(token);
      }
    }
  }
  return found;
}

}  // namespace layerscope::gui::view

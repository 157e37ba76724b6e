#include "engine/tokenizer/special_tokens.h"

#include <algorithm>
#include <unordered_set>

namespace layerscope::tokenizer {
namespace {

/// A longer name is no name that anyone writes into a prompt.
constexpr std::size_t kMaxNameBytes = 512;
/// Names that begin at one place, kept per place: the longest so many.
constexpr std::size_t kMaxNested = 16;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// The reference's exceptions to dropping white space.
bool keeps_space_after(std::string_view name) {
  return name == "<unk>" || name == "<s>" || name == "<|endoftext|>";
}

}  // namespace

SpecialTokens::SpecialTokens(const std::vector<std::string>& pieces,
                             const std::vector<TokenType>& types, bool strip_after_all,
                             const std::vector<std::int32_t>& strip_after) {
  const std::unordered_set<std::int32_t> stripping(strip_after.begin(), strip_after.end());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const TokenType type = types[i];
    const bool control = type == TokenType::kControl || type == TokenType::kUnknown;
    const std::string& piece = pieces[i];
    if ((control || type == TokenType::kUserDefined) && !piece.empty() &&
        piece.size() <= kMaxNameBytes) {
      const auto id = static_cast<std::int32_t>(i);
      const bool strip = strip_after_all && !keeps_space_after(piece);
      add(piece, Name{id, control, strip || stripping.contains(id)});
    }
  }
}

void SpecialTokens::add(std::string_view text, const Name& name) {
  std::uint32_t node = 0;
  starts_[static_cast<unsigned char>(text[0])] = true;
  for (const char c : text) {
    const std::uint64_t key = (std::uint64_t{node} << 8U) | static_cast<unsigned char>(c);
    const auto [it, added] = edges_.emplace(key, static_cast<std::uint32_t>(names_.size()));
    if (added) {
      names_.emplace_back();
    }
    node = it->second;
  }
  if (names_[node].id < 0) {  // of two tokens with one name the first counts
    names_[node] = name;
    strip_after_[name.id] = name.strip_after;
  }
}

void SpecialTokens::find_at(std::string_view text, std::size_t begin, bool parse_control,
                            std::vector<Stretch>& found) const {
  const std::size_t first = found.size();
  std::uint32_t node = 0;
  for (std::size_t end = begin; end < text.size();) {
    const auto it =
        edges_.find((std::uint64_t{node} << 8U) | static_cast<unsigned char>(text[end]));
    if (it == edges_.end()) {
      break;
    }
    node = it->second;
    ++end;
    const Name& name = names_[node];
    if (name.id >= 0 && (parse_control || !name.control)) {
      found.push_back({begin, end, name.id});
    }
  }
  if (found.size() - first > kMaxNested) {
    found.erase(found.begin() + static_cast<std::ptrdiff_t>(first),
                found.end() - static_cast<std::ptrdiff_t>(kMaxNested));
  }
}

std::vector<Stretch> SpecialTokens::find_all(std::string_view text, bool parse_control) const {
  std::vector<Stretch> found;
  for (std::size_t begin = 0; begin < text.size(); ++begin) {
    if (starts_[static_cast<unsigned char>(text[begin])]) {
      find_at(text, begin, parse_control, found);
    }
  }
  std::sort(found.begin(), found.end(), [](const Stretch& a, const Stretch& b) {
    const std::size_t a_size = a.end - a.begin;
    const std::size_t b_size = b.end - b.begin;
    return a_size != b_size ? a_size > b_size : a.begin < b.begin;
  });
  // All that were taken before are at least as long: an overlap covers the first or the last byte.
  std::vector<bool> taken(found.empty() ? 0 : text.size());
  std::vector<Stretch> kept;
  for (const Stretch& each : found) {
    if (!taken[each.begin] && !taken[each.end - 1]) {
      std::fill(taken.begin() + static_cast<std::ptrdiff_t>(each.begin),
                taken.begin() + static_cast<std::ptrdiff_t>(each.end), true);
      kept.push_back(each);
    }
  }
  std::sort(kept.begin(), kept.end(),
            [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
  return kept;
}

std::vector<Stretch> SpecialTokens::split(std::string_view text, bool parse_control) const {
  std::vector<Stretch> stretches;
  std::size_t pos = 0;
  for (const Stretch& token : find_all(text, parse_control)) {
    if (token.begin < pos) {
      continue;  // it began in white space that was dropped
    }
    if (token.begin > pos) {
      stretches.push_back({pos, token.begin, -1});
    }
    stretches.push_back(token);
    pos = token.end;
    if (strip_after_.at(token.id)) {
      while (pos < text.size() && is_space(text[pos])) {
        ++pos;
      }
    }
  }
  if (pos < text.size()) {
    stretches.push_back({pos, text.size(), -1});
  }
  return stretches;
}

}  // namespace layerscope::tokenizer

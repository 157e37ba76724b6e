// SpecialTokens: finds the names of special tokens in text.
//
// Immutable after construction; may be used from any thread. Keeps no views into the vocabulary.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace layerscope::tokenizer {

/// A part of a text: one special token, or plain text (id -1).
struct Stretch {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::int32_t id = -1;
};

class SpecialTokens {
 public:
  /// `types` are as many as `pieces`. White space is dropped after all special tokens
  /// (`strip_after_all`; a few are exempt) or after the listed ones.
  SpecialTokens(const std::vector<std::string>& pieces, const std::vector<TokenType>& types,
                bool strip_after_all, const std::vector<std::int32_t>& strip_after = {});

  /// Cuts `text` at the names of special tokens, longer names first, then from the left.
  /// User-defined tokens are always recognised, control and unknown tokens only with
  /// `parse_control`. White space that the model drops after a special token is in no stretch;
  /// empty stretches are left out.
  [[nodiscard]] std::vector<Stretch> split(std::string_view text, bool parse_control) const;

 private:
  struct Name {
    std::int32_t id = -1;
    bool control = false;
    bool strip_after = false;
  };
  void add(std::string_view text, const Name& name);
  void find_at(std::string_view text, std::size_t begin, bool parse_control,
               std::vector<Stretch>& found) const;
  [[nodiscard]] std::vector<Stretch> find_all(std::string_view text, bool parse_control) const;

  /// A trie: (node << 8 | byte) → node; node 0 is the root.
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;
  std::vector<Name> names_{Name{}};  ///< By node; id -1 where no name ends.
  std::unordered_map<std::int32_t, bool> strip_after_;
  std::array<bool, 256> starts_{};
};

}  // namespace layerscope::tokenizer

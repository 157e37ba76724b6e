// ListedTokenizer: the tokens of another machine's model or of a recording. Text is decoded here;
// it is encoded where the model is.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>

#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"

namespace layerscope::tokenizer {

/// Knows tokens by name, and encodes nothing.
class ListedTokenizer final : public Tokenizer {
 public:
  explicit ListedTokenizer(Vocab&& vocab) : Tokenizer(std::move(vocab)) {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      index_.emplace(pieces_[i], static_cast<std::int32_t>(i));
    }
  }
  [[nodiscard]] Encoding encode(std::string_view /*text*/, const EncodeOptions&) const override {
    return {};
  }
  [[nodiscard]] std::int32_t find(std::string_view piece) const override {
    const auto found = index_.find(piece);
    return found == index_.end() ? -1 : found->second;
  }

 private:
  std::map<std::string_view, std::int32_t> index_;  ///< views into pieces_
};

}  // namespace layerscope::tokenizer

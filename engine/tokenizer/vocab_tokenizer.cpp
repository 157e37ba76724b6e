#include "engine/tokenizer/vocab_tokenizer.h"

#include <utility>

namespace layerscope::tokenizer {

VocabTokenizer::VocabTokenizer(Vocab&& vocab)
    : Tokenizer(std::move(vocab)),
      // The lists that the base keeps have moved there; the others are still here.
      special_(pieces_, types_, vocab.strip_after_special, vocab.strip_after) {
  index_.reserve(pieces_.size());
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    if (!pieces_[i].empty()) {
      index_.emplace(pieces_[i], static_cast<std::int32_t>(i));  // of two the first counts
    }
  }
}

std::int32_t VocabTokenizer::find(std::string_view piece) const {
  const auto it = index_.find(piece);
  return it == index_.end() ? -1 : it->second;
}

Encoding VocabTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  Encoding out;
  if (options.add_special && add_bos_) {
    push(out, bos_, 0);
  }
  for (const Stretch& stretch : special_.split(text, options.parse_special)) {
    if (stretch.id >= 0) {
      push(out, stretch.id, stretch.begin);
    } else {
      encode_plain(text.substr(stretch.begin, stretch.end - stretch.begin), stretch.begin, out);
    }
  }
  if (options.add_special && add_eos_) {
    push(out, eos_, text.size());
  }
  return out;
}

}  // namespace layerscope::tokenizer

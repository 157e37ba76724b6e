// Pre-tokenizers: the regular expressions that cut text into words before byte-pair merging. Each
// cuts the pieces that the one before left at its matches; what lies between matches are words too.
//
// Immutable; `split` may be called from any thread at the same time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace layerscope::tokenizer {

/// True for the pre-tokenizers whose models begin with BOS unless their metadata say otherwise.
bool pre_tokenizer_adds_bos(std::string_view name);

/// True for those that take a word that is a token as a whole, before any merging.
bool pre_tokenizer_ignores_merges(std::string_view name);

class PreTokenizer {
 public:
  /// `name` as in `tokenizer.ggml.pre`. Error (kInvalidInput): unknown name; the known are listed.
  static Result<PreTokenizer> create(std::string_view name);

  /// From expressions of a tokenizer.json, which are applied one after the other to the pieces that
  /// the one before left. Error (kInvalidInput): one that does not compile, with its place.
  static Result<PreTokenizer> from_expressions(const std::vector<std::string>& expressions);

  /// Appends the end offset of each word of `text`. Words follow one another without gaps. Bytes
  /// that are not valid UTF-8 are words of one byte. Linear in the length of `text` for named
  /// pre-tokenizers.
  void split(std::string_view text, std::vector<std::size_t>& ends) const;

 private:
  struct Code;
  explicit PreTokenizer(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace layerscope::tokenizer

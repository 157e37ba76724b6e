// VocabTokenizer: what BPE and SPM share — the piece index, special tokens, BOS and EOS.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"

namespace layerscope::tokenizer {

class VocabTokenizer : public Tokenizer {
 public:
  [[nodiscard]] Encoding encode(std::string_view text, const EncodeOptions& options) const final;
  [[nodiscard]] std::int32_t find(std::string_view piece) const final;

 protected:
  explicit VocabTokenizer(Vocab&& vocab);

  /// Appends the tokens of plain text that stands at `offset` of the input.
  virtual void encode_plain(std::string_view text, std::size_t offset, Encoding& out) const = 0;

  static void push(Encoding& out, std::int32_t id, std::size_t offset) {
    out.ids.push_back(id);
    out.offsets.push_back(offset);
  }

 private:
  SpecialTokens special_;
  std::unordered_map<std::string_view, std::int32_t> index_;  ///< Views into pieces_.
};

/// Errors (kInvalidInput): unknown pre-tokenizer, merges of tokens that do not exist, a byte that
/// neither a token nor an unknown token stands for.
Result<std::shared_ptr<const Tokenizer>> build_bpe(Vocab vocab);

/// Error (kInvalidInput): a byte that neither a token nor an unknown token stands for.
Result<std::shared_ptr<const Tokenizer>> build_spm(Vocab vocab);

}  // namespace layerscope::tokenizer

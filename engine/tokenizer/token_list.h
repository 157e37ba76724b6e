// What the readers of a Hugging Face folder share: tokens that come by id from several files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/tokenizer/vocab.h"

namespace layerscope::tokenizer {

/// A token's text: a plain string, or an object with `content`; empty when it is neither.
std::string token_text(const nlohmann::json& config, const char* key);

/// Collects tokens by id.
class TokenList {
 public:
  /// Errors (kInvalidInput): no usable id, or one that another token has.
  Status add(const std::string& piece, const nlohmann::json& id, TokenType type);
  /// Hands the lists over. Error: most ids have no token.
  Status give(Vocab& vocab);

 private:
  std::vector<std::string> pieces_;
  std::vector<TokenType> types_;
  std::size_t n_ = 0;
};

/// Fills `vocab` and `list` from a tokenizer.json: model, added tokens, normalizer, pre-tokenizer
/// and post-processor as the byte-level and SPM-like BPE families use them. Errors
/// (kInvalidInput): parts missing, damaged or of a kind that is not supported, named.
Status read_tokenizer_json(const nlohmann::json& file, TokenList& list, Vocab& vocab);

/// After `list` was given to `vocab`: what needs ids. Scores of SPM-like BPE come from its merges.
Status finish_tokenizer_json(const nlohmann::json& file, Vocab& vocab);

}  // namespace layerscope::tokenizer

// Vocab: everything a tokenizer is built from, independent of the file that it came from.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::tokenizer {

struct Vocab {
  std::string model;  ///< "gpt2" (byte-level BPE) or "llama" (SPM)
  std::string pre;    ///< Pre-tokenizer of a BPE model
  /// Of a tokenizer.json, instead of `pre`: its expressions, in order.
  std::vector<std::string> expressions;
  bool nfc = false;            ///< BPE: text is brought to Unicode's form C first.
  bool ignore_merges = false;  ///< A word that is a token needs no merges (also by `pre`).
  std::string chat_template;
  std::vector<std::string> pieces;
  std::vector<TokenType> types;     ///< As many as pieces.
  std::vector<float> scores;        ///< SPM: as many as pieces, none a NaN.
  std::vector<std::string> merges;  ///< BPE: "left right", best first.
  std::int32_t bos = -1, eos = -1, unk = -1;
  std::vector<std::int32_t> end_ids;  ///< Further tokens that end a generation (eot, eom).
  bool add_bos = false, add_eos = false, add_space_prefix = false;
  /// White space after special tokens is dropped (what the reference does for Phi-3).
  bool strip_after_special = false;
  std::vector<std::int32_t> strip_after;  ///< Tokens after which white space is dropped.
  bool prefix_first_only = false;    ///< SPM: the space prefix stands only at the text's start,
  bool prefix_unless_space = false;  ///< and only before text that does not begin with a space.
  std::stop_token stop;              ///< Building a large vocabulary can be cancelled.
};

/// Reads `tokenizer.ggml.*`. Errors (kInvalidInput): missing keys, lists of different lengths,
/// types or ids out of range, scores that are no numbers.
Result<Vocab> vocab_from_model(const format::ModelFile& file);

/// Builds the tokenizer for a vocabulary. Errors (kInvalidInput): unknown model or pre-tokenizer,
/// merges of unknown tokens, bytes that nothing stands for.
Result<std::shared_ptr<const Tokenizer>> build_tokenizer(Vocab vocab);

}  // namespace layerscope::tokenizer

// Small vocabularies, made here, for tests of the tokenizer.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/tokenizer/byte_table.h"
#include "engine/tokenizer/vocab.h"

namespace layerscope::testing {

using tokenizer::TokenType;
using tokenizer::Vocab;

inline std::int32_t add_token(Vocab& vocab, std::string piece, TokenType type, float score = 0.0F) {
  vocab.pieces.push_back(std::move(piece));
  vocab.types.push_back(type);
  if (vocab.model == "llama") {
    vocab.scores.push_back(score);
  }
  return static_cast<std::int32_t>(vocab.pieces.size() - 1);
}

/// 256 byte tokens, some merges, three control tokens, one user-defined token and padding.
inline Vocab small_bpe(const std::string& pre) {
  Vocab vocab;
  vocab.model = "gpt2";
  vocab.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    add_token(vocab, tokenizer::bytes_to_piece(text), TokenType::kNormal);
  }
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{{"h", "e"},
                                                                                    {"l", "l"},
                                                                                    {"he", "ll"},
                                                                                    {"hell", "o"},
                                                                                    {"Ġ", "w"},
                                                                                    {"a", "a"},
                                                                                    {"aa", "aa"},
                                                                                    {"1", "2"},
                                                                                    {"o", "r"},
                                                                                    {"Ġw", "or"}}) {
    vocab.merges.push_back(left + " " + right);
    add_token(vocab, left + right, TokenType::kNormal);
  }
  vocab.bos = add_token(vocab, "<|start|>", TokenType::kControl);
  vocab.eos = add_token(vocab, "<|im_end|>", TokenType::kControl);
  add_token(vocab, "<|im_end|>!", TokenType::kControl);
  add_token(vocab, "<user>", TokenType::kUserDefined);
  add_token(vocab, "[PAD1]", TokenType::kUnused);
  return vocab;
}

/// Byte tokens, single characters and pieces with scores in order of merging.
inline Vocab small_spm() {
  Vocab vocab;
  vocab.model = "llama";
  vocab.pre = "default";
  vocab.unk = add_token(vocab, "<unk>", TokenType::kUnknown);
  vocab.bos = add_token(vocab, "<s>", TokenType::kControl);
  vocab.eos = add_token(vocab, "</s>", TokenType::kControl);
  vocab.add_bos = true;
  vocab.add_space_prefix = true;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr const char* kDigits = "0123456789ABCDEF";
    const std::string hex = {kDigits[byte / 16], kDigits[byte % 16]};
    add_token(vocab, "<0x" + hex + ">", TokenType::kByte);
  }
  float score = 0.0F;
  for (const char* piece : {"▁h", "el", "lo", "▁hel", "▁hello", "é", "▁", "h", "e", "l", "o", "w",
                            "<", "s", ">", "<s"}) {
    add_token(vocab, piece, TokenType::kNormal, score);
    score -= 1.0F;
  }
  add_token(vocab, "[PAD]", TokenType::kUnused);
  return vocab;
}

}  // namespace layerscope::testing

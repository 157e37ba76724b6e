#include "engine/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "engine/base/utf8.h"
#include "engine/tokenizer/byte_table.h"
#include "engine/tokenizer/hf_files.h"
#include "engine/tokenizer/vocab.h"
#include "engine/tokenizer/vocab_tokenizer.h"

namespace layerscope::tokenizer {
namespace {

/// Names by which models of several families end a turn or a text.
constexpr std::array<std::string_view, 18> kEndNames{"<|endoftext|>",
                                                     "<|end_of_text|>",
                                                     "<|im_end|>",
                                                     "<|eot_id|>",
                                                     "<|eom_id|>",
                                                     "<|end|>",
                                                     "<|return|>",
                                                     "<|call|>",
                                                     "<|eos|>",
                                                     "<end_of_turn>",
                                                     "</s>",
                                                     "<eos>",
                                                     "<end_of_utterance>",
                                                     "<EOT>",
                                                     "[EOT]",
                                                     "[EOS]",
                                                     "<|EOT|>",
                                                     "<｜end▁of▁sentence｜>"};

bool is_special_type(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

bool ends_by_name(std::string_view piece, TokenType type) {
  // "</s>" as an ordinary token may be HTML; nobody writes "<|im_end|>" by accident.
  const bool marked = is_special_type(type) || type == TokenType::kUserDefined;
  const bool unmistakable = type == TokenType::kNormal && piece.substr(0, 2) == "<|";
  return (marked || unmistakable) &&
         std::find(kEndNames.begin(), kEndNames.end(), piece) != kEndNames.end();
}

std::string unescape_spm(std::string_view piece) {
  constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
  std::string text;
  for (std::size_t pos = 0; pos < piece.size();) {
    if (piece.substr(pos, kSpace.size()) == kSpace) {
      text += ' ';
      pos += kSpace.size();
    } else {
      text += piece[pos++];
    }
  }
  return text;
}

/// The bytes that a token of any type but control, unknown and unused stands for.
std::string token_bytes(const std::string& piece, TokenType type, bool spm) {
  if (type == TokenType::kByte) {
    const int byte = parse_byte_token(piece);
    return byte < 0 ? piece : std::string(1, static_cast<char>(byte));
  }
  if (type == TokenType::kUserDefined) {
    return piece;
  }
  return spm ? unescape_spm(piece) : piece_to_bytes(piece);
}

}  // namespace

Tokenizer::Tokenizer(Vocab&& vocab)
    : pieces_(std::move(vocab.pieces)),
      types_(std::move(vocab.types)),
      model_(std::move(vocab.model)),
      pre_(std::move(vocab.pre)),
      chat_template_(std::move(vocab.chat_template)),
      bos_(vocab.bos),
      eos_(vocab.eos),
      unk_(vocab.unk),
      add_bos_(vocab.add_bos),
      add_eos_(vocab.add_eos),
      add_space_prefix_(vocab.add_space_prefix) {
  bytes_.resize(pieces_.size());
  is_end_.resize(pieces_.size());
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    if (!is_special_type(types_[i]) && types_[i] != TokenType::kUnused) {
      bytes_[i] = token_bytes(pieces_[i], types_[i], model_ == "llama");
    }
    is_end_[i] = ends_by_name(pieces_[i], types_[i]);
  }
  vocab.end_ids.push_back(eos_);
  for (const std::int32_t id : vocab.end_ids) {
    if (id >= 0) {
      is_end_[static_cast<std::size_t>(id)] = true;
    }
  }
}

Result<std::shared_ptr<const Tokenizer>> build_tokenizer(Vocab vocab) {
  if (vocab.model == "gpt2") {
    return build_bpe(std::move(vocab));
  }
  if (vocab.model == "llama") {
    return build_spm(std::move(vocab));
  }
  return invalid_input(fmt::format("tokenizer model '{}' is not supported (these are: gpt2, llama)",
                                   utf8_escape(std::string_view(vocab.model).substr(0, 80))));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_model(const format::ModelFile& file,
                                                               std::stop_token stop) {
  if (!file.folder.empty()) {
    return from_hf_files(file.folder, std::move(stop));
  }
  const auto build = [&]() -> Result<std::shared_ptr<const Tokenizer>> {
    LS_TRY(Vocab vocab, vocab_from_model(file));
    vocab.stop = stop;
    return build_tokenizer(std::move(vocab));
  };
  auto result = build();
  if (!result.ok() && result.error().code != ErrorCode::kCancelled) {
    const std::string name = std::filesystem::path(file.path).filename().string();
    return result.error().with_context(fmt::format("'{}'", name));
  }
  return result;
}

TokenType Tokenizer::type(std::int32_t id) const {
  return id < 0 || id >= n_tokens() ? TokenType::kUnused : types_[static_cast<std::size_t>(id)];
}

bool Tokenizer::is_usable(std::int32_t id) const { return type(id) != TokenType::kUnused; }

bool Tokenizer::is_end(std::int32_t id) const {
  return id >= 0 && id < n_tokens() && is_end_[static_cast<std::size_t>(id)];
}

std::string_view Tokenizer::piece(std::int32_t id) const {
  return id < 0 || id >= n_tokens() ? std::string_view() : pieces_[static_cast<std::size_t>(id)];
}

std::string Tokenizer::decode(std::int32_t id, bool special) const {
  if (id < 0 || id >= n_tokens()) {
    return "";
  }
  const auto i = static_cast<std::size_t>(id);
  const bool by_name = is_special_type(types_[i]) || types_[i] == TokenType::kUnused;
  return by_name && special ? pieces_[i] : bytes_[i];
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool special) const {
  std::string text;
  bool at_start = add_space_prefix_;
  for (const std::int32_t id : ids) {
    const std::string bytes = decode(id, special);
    const bool is_text = is_usable(id) && !is_special_type(type(id));
    const bool drop = at_start && is_text && !bytes.empty() && bytes[0] == ' ';
    text.append(bytes, drop ? 1 : 0, std::string::npos);
    at_start = at_start && !is_text;
  }
  return text;
}

std::string Tokenizer::display(std::int32_t id) const {
  if (id < 0 || id >= n_tokens()) {
    return "";
  }
  const auto i = static_cast<std::size_t>(id);
  return utf8_escape(bytes_[i].empty() ? pieces_[i] : bytes_[i]);
}

}  // namespace layerscope::tokenizer

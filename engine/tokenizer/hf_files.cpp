#include "engine/tokenizer/hf_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "engine/base/mapped_file.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/vocab.h"

namespace layerscope::tokenizer {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxFileBytes = 256U << 20U;
constexpr std::int64_t kMaxTokens = 1 << 24;

struct TextFile {
  MappedFile mapping;
  std::string_view text;
};

Result<TextFile> read_text(const std::filesystem::path& path) {
  TextFile file;
  LS_TRY(file.mapping, MappedFile::open(path));
  const auto bytes = file.mapping.bytes();
  if (bytes.size() > kMaxFileBytes) {
    return invalid_input(fmt::format("'{}' has {} bytes, too many for a tokenizer file",
                                     path.string(), bytes.size()));
  }
  file.text = std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return file;
}

/// The JSON object in `path`.
Result<json> read_object(const std::filesystem::path& path) {
  LS_TRY(const TextFile file, read_text(path));
  json object = json::parse(file.text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return invalid_input(fmt::format("'{}' does not hold a JSON object", path.string()));
  }
  return object;
}

/// The same; an empty object where there is no such file.
Result<json> read_object_if_present(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return json(json::object());
  }
  return read_object(path);
}

/// A token's text: a plain string, or an object with `content`.
std::string token_text(const json& config, const char* key) {
  const auto it = config.find(key);
  if (it == config.end()) {
    return "";
  }
  if (it->is_object()) {
    return it->value("content", json()).is_string() ? it->value("content", "") : "";
  }
  return it->is_string() ? it->get<std::string>() : "";
}

/// Collects tokens by id while they come from several files.
class TokenList {
 public:
  Status add(const std::string& piece, const json& id, TokenType type) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 ||
        id.get<std::int64_t>() >= kMaxTokens) {
      return invalid_input(fmt::format("token '{}' has no usable id", utf8_escape(piece)));
    }
    const auto index = static_cast<std::size_t>(id.get<std::int64_t>());
    if (index >= pieces_.size()) {
      pieces_.resize(index + 1);
      types_.resize(index + 1, TokenType::kUnused);
    }
    if (types_[index] != TokenType::kUnused && pieces_[index] != piece) {
      return invalid_input(fmt::format("tokens '{}' and '{}' both have id {}",
                                       utf8_escape(pieces_[index]), utf8_escape(piece), index));
    }
    n_ += types_[index] == TokenType::kUnused ? 1 : 0;
    pieces_[index] = piece;
    types_[index] = type;
    return {};
  }

  Status give(Vocab& vocab) {
    if (pieces_.empty() || pieces_.size() / 2 > n_) {
      return invalid_input(fmt::format("{} tokens have ids up to {}: the list has too many holes",
                                       n_, pieces_.size()));
    }
    vocab.pieces = std::move(pieces_);
    vocab.types = std::move(types_);
    return {};
  }

 private:
  std::vector<std::string> pieces_;
  std::vector<TokenType> types_;
  std::size_t n_ = 0;
};

Status add_added_tokens(const std::filesystem::path& folder, const json& config, TokenList& list) {
  LS_TRY(const json added, read_object_if_present(folder / "added_tokens.json"));
  for (const auto& [piece, id] : added.items()) {
    LS_CHECK(list.add(piece, id, TokenType::kControl));
  }
  const auto decoder = config.find("added_tokens_decoder");
  if (decoder == config.end() || !decoder->is_object()) {
    return {};
  }
  for (const auto& [id, token] : decoder->items()) {
    if (!token.is_object() || id.empty() || id.size() > 8 ||
        id.find_first_not_of("0123456789") != std::string::npos) {
      return invalid_input(
          fmt::format("entry '{}' of added_tokens_decoder is not a token", utf8_escape(id)));
    }
    const auto special = token.find("special");
    const bool is_special =
        special == token.end() || !special->is_boolean() || special->get<bool>();
    LS_CHECK(list.add(token_text(token, "content"), json(std::stoll(id)),
                      is_special ? TokenType::kControl : TokenType::kUserDefined));
  }
  return {};
}

Result<std::vector<std::string>> read_merges(const std::filesystem::path& path) {
  LS_TRY(const TextFile file, read_text(path));
  std::vector<std::string> merges;
  for (std::size_t pos = 0; pos < file.text.size();) {
    const std::size_t end = std::min(file.text.find('\n', pos), file.text.size());
    std::string_view line = file.text.substr(pos, end - pos);
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    const bool version_line = pos == 0 && line.substr(0, 9) == "#version:";
    if (!line.empty() && !version_line) {
      merges.emplace_back(line);
    }
    pos = end + 1;
  }
  return merges;
}

Result<std::string> pre_tokenizer_of(const json& config, const json& model) {
  const std::string name = token_text(config, "tokenizer_class");
  const std::string type = token_text(model, "model_type");
  if (name.substr(0, 5) == "Qwen2" || (name.empty() && type == "qwen2")) {
    return std::string("qwen2");
  }
  if (name.substr(0, 4) == "GPT2" || (name.empty() && type == "gpt2")) {
    return std::string("gpt-2");
  }
  return invalid_input(
      fmt::format("tokenizer class '{}' (model type '{}') is not supported "
                  "(Qwen2Tokenizer and GPT2Tokenizer are)",
                  utf8_escape(name), utf8_escape(type)));
}

Status find_special(const json& config, Vocab& vocab) {
  const auto find = [&](const char* key) {
    const std::string text = token_text(config, key);
    const auto it = std::find(vocab.pieces.begin(), vocab.pieces.end(), text);
    return text.empty() || it == vocab.pieces.end()
               ? -1
               : static_cast<std::int32_t>(it - vocab.pieces.begin());
  };
  vocab.bos = find("bos_token");
  vocab.eos = find("eos_token");
  vocab.unk = find("unk_token");
  const auto add_bos = config.find("add_bos_token");
  vocab.add_bos = vocab.bos >= 0 && add_bos != config.end() && *add_bos == json(true);
  vocab.chat_template = token_text(config, "chat_template");
  return {};
}

Result<Vocab> read_vocab(const std::filesystem::path& folder) {
  Vocab vocab;
  vocab.model = "gpt2";
  LS_TRY(const json config, read_object_if_present(folder / "tokenizer_config.json"));
  LS_TRY(const json model, read_object_if_present(folder / "config.json"));
  LS_TRY(vocab.pre, pre_tokenizer_of(config, model));
  LS_TRY(const json pieces, read_object(folder / "vocab.json"));
  TokenList list;
  for (const auto& [piece, id] : pieces.items()) {
    LS_CHECK(list.add(piece, id, TokenType::kNormal));
  }
  LS_CHECK(add_added_tokens(folder, config, list));
  LS_CHECK(list.give(vocab));
  LS_TRY(vocab.merges, read_merges(folder / "merges.txt"));
  LS_CHECK(find_special(config, vocab));
  return vocab;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> from_hf_files(const std::string& folder) {
  const auto build = [&]() -> Result<std::shared_ptr<const Tokenizer>> {
    LS_TRY(Vocab vocab, read_vocab(folder));
    return build_tokenizer(std::move(vocab));
  };
  auto result = build();
  if (!result.ok()) {
    return result.error().with_context(fmt::format("'{}'", folder));
  }
  return result;
}

}  // namespace layerscope::tokenizer

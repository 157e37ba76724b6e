#include "engine/tokenizer/hf_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "engine/base/mapped_file.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/token_list.h"
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

}  // namespace

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

Status TokenList::add(const std::string& piece, const json& id, TokenType type) {
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

Status TokenList::give(Vocab& vocab) {
  if (pieces_.empty() || pieces_.size() / 2 > n_) {
    return invalid_input(fmt::format("{} tokens have ids up to {}: the list has too many holes", n_,
                                     pieces_.size()));
  }
  vocab.pieces = std::move(pieces_);
  vocab.types = std::move(types_);
  return {};
}

namespace {

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

/// Classes whose vocab.json and merges.txt say everything but the pre-tokenizer.
Result<std::string> pre_tokenizer_of(const json& config, const json& model) {
  const std::string name = token_text(config, "tokenizer_class");
  const std::string type = token_text(model, "model_type");
  struct Class {
    std::string_view name, type, pre;
  };
  constexpr Class kClasses[] = {{"Qwen2", "qwen2", "qwen2"},
                                {"Qwen2", "qwen3", "qwen2"},
                                {"GPT2", "gpt2", "gpt-2"},
                                {"CodeGen", "phi", "phi-2"}};
  for (const Class& each : kClasses) {
    if (name.substr(0, each.name.size()) == each.name || (name.empty() && type == each.type)) {
      return std::string(each.pre);
    }
  }
  return invalid_input(
      fmt::format("there is no tokenizer.json, and tokenizer class '{}' (model type '{}') is not "
                  "one that can be read without it (Qwen2Tokenizer, GPT2Tokenizer and "
                  "CodeGenTokenizer are); save the tokenizer with the `tokenizers` library",
                  utf8_escape(name), utf8_escape(type)));
}

std::int32_t find_piece(const Vocab& vocab, const std::string& piece) {
  const auto it = std::find(vocab.pieces.begin(), vocab.pieces.end(), piece);
  return piece.empty() || it == vocab.pieces.end()
             ? -1
             : static_cast<std::int32_t>(it - vocab.pieces.begin());
}

void find_special(const json& config, Vocab& vocab) {
  for (const auto& [key, id] :
       {std::pair{"bos_token", &vocab.bos}, {"eos_token", &vocab.eos}, {"unk_token", &vocab.unk}}) {
    const std::int32_t found = find_piece(vocab, token_text(config, key));
    *id = found >= 0 ? found : *id;
  }
  const auto add_bos = config.find("add_bos_token");
  if (add_bos != config.end() && add_bos->is_boolean()) {
    vocab.add_bos = vocab.bos >= 0 && add_bos->get<bool>();
  }
}

/// Further tokens that end a generation.
void find_ends(const json& generation, Vocab& vocab) {
  const auto ids = generation.find("eos_token_id");
  const auto add = [&](const json& id) {
    if (id.is_number_integer() && id.get<std::int64_t>() >= 0 &&
        id.get<std::int64_t>() < static_cast<std::int64_t>(vocab.pieces.size())) {
      vocab.end_ids.push_back(id.get<std::int32_t>());
    }
  };
  if (ids != generation.end() && ids->is_array()) {
    std::for_each(ids->begin(), ids->end(), add);
  } else if (ids != generation.end()) {
    add(*ids);
  }
}

/// A file of its own, else the configuration's text, or of several the one named "default".
Result<std::string> read_chat_template(const std::filesystem::path& folder, const json& config) {
  std::error_code ignored;
  const std::filesystem::path own = folder / "chat_template.jinja";
  if (std::filesystem::exists(own, ignored)) {
    LS_TRY(const TextFile file, read_text(own));
    return std::string(file.text);
  }
  LS_TRY(const json apart, read_object_if_present(folder / "chat_template.json"));
  const json& holder = apart.contains("chat_template") ? apart : config;
  const auto it = holder.find("chat_template");
  if (it != holder.end() && it->is_array()) {
    for (const json& each : *it) {
      if (each.is_object() && token_text(each, "name") == "default") {
        return token_text(each, "template");
      }
    }
  }
  return token_text(holder, "chat_template");
}

Status read_pieces(const std::filesystem::path& folder, const json& config, Vocab& vocab) {
  TokenList list;
  std::error_code ignored;
  if (std::filesystem::exists(folder / "tokenizer.json", ignored)) {
    LS_TRY(const json file, read_object(folder / "tokenizer.json"));
    LS_CHECK(read_tokenizer_json(file, list, vocab));
    LS_CHECK(list.give(vocab));
    return finish_tokenizer_json(file, vocab);
  }
  vocab.model = "gpt2";
  LS_TRY(const json model, read_object_if_present(folder / "config.json"));
  LS_TRY(vocab.pre, pre_tokenizer_of(config, model));
  vocab.nfc = vocab.pre == "qwen2";  // as that class does
  LS_TRY(const json pieces, read_object(folder / "vocab.json"));
  for (const auto& [piece, id] : pieces.items()) {
    LS_CHECK(list.add(piece, id, TokenType::kNormal));
  }
  LS_CHECK(add_added_tokens(folder, config, list));
  LS_CHECK(list.give(vocab));
  LS_TRY(vocab.merges, read_merges(folder / "merges.txt"));
  return {};
}

Result<Vocab> read_vocab(const std::filesystem::path& folder) {
  Vocab vocab;
  LS_TRY(const json config, read_object_if_present(folder / "tokenizer_config.json"));
  LS_CHECK(read_pieces(folder, config, vocab));
  find_special(config, vocab);
  LS_TRY(const json generation, read_object_if_present(folder / "generation_config.json"));
  find_ends(generation, vocab);
  LS_TRY(vocab.chat_template, read_chat_template(folder, config));
  return vocab;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> from_hf_files(const std::string& folder,
                                                       std::stop_token stop) {
  const auto build = [&]() -> Result<std::shared_ptr<const Tokenizer>> {
    LS_TRY(Vocab vocab, read_vocab(folder));
    vocab.stop = std::move(stop);
    return build_tokenizer(std::move(vocab));
  };
  auto result = build();
  if (!result.ok() && result.error().code != ErrorCode::kCancelled) {
    return result.error().with_context(fmt::format("'{}'", folder));
  }
  return result;
}

}  // namespace layerscope::tokenizer

// read_tokenizer_json: the tokenizers library's single file, as far as our families use it.
//
// Byte-level BPE keeps its expressions; SPM-like BPE (Llama, Gemma, Mistral, Phi-3) becomes SPM
// with scores that order the merges as its list does. What is not known is refused, not skipped: a
// tokenizer that is almost right gives almost right ids.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "engine/base/utf8.h"
#include "engine/tokenizer/byte_table.h"
#include "engine/tokenizer/token_list.h"

namespace layerscope::tokenizer {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxSteps = 16;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
/// What ByteLevel cuts with where it is not told otherwise.
constexpr const char* kByteLevel =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Error unsupported(std::string_view part, std::string_view kind) {
  return invalid_input(
      fmt::format("tokenizer.json: {} of type '{}' is not supported", part, utf8_escape(kind)));
}

std::string type_of(const json& part) { return token_text(part, "type"); }

bool flag(const json& part, const char* key, bool otherwise) {
  const auto it = part.find(key);
  return it != part.end() && it->is_boolean() ? it->get<bool>() : otherwise;
}

/// A part that may be null, one step or a sequence of them, as a list.
Result<std::vector<json>> steps_of(const json& file, const char* part, const char* list) {
  const auto it = file.find(part);
  std::vector<json> steps;
  if (it == file.end() || it->is_null()) {
    return steps;
  }
  if (!it->is_object()) {
    return invalid_input(fmt::format("tokenizer.json: '{}' is not an object", part));
  }
  if (type_of(*it) != "Sequence") {
    steps.push_back(*it);
    return steps;
  }
  const auto inner = it->find(list);
  if (inner == it->end() || !inner->is_array() || inner->size() > kMaxSteps) {
    return invalid_input(fmt::format("tokenizer.json: '{}' has no usable list '{}'", part, list));
  }
  for (const json& step : *inner) {
    if (!step.is_object()) {
      return invalid_input(
          fmt::format("tokenizer.json: '{}' holds a step that is no object", part));
    }
    steps.push_back(step);
  }
  return steps;
}

/// The pattern of a Split or Replace step: a string to be found, or an expression.
std::string pattern_of(const json& step, const char* kind) {
  const auto it = step.find("pattern");
  return it != step.end() && it->is_object() ? token_text(*it, kind) : "";
}

Status read_normalizer(const json& file, bool byte_level, Vocab& vocab) {
  LS_TRY(const std::vector<json> steps, steps_of(file, "normalizer", "normalizers"));
  for (const json& step : steps) {
    const std::string type = type_of(step);
    const bool replaces = type == "Replace" && pattern_of(step, "String") == " " &&
                          token_text(step, "content") == kSpaceMark;
    if (type == "Prepend" && token_text(step, "prepend") == kSpaceMark) {
      vocab.add_space_prefix = true;
    } else if (type == "NFC" && byte_level) {
      vocab.nfc = true;
    } else if (!replaces) {
      return unsupported("a normalizer", type);
    }
  }
  return {};
}

void read_metaspace(const json& step, Vocab& vocab) {
  const std::string scheme = token_text(step, "prepend_scheme");
  const bool prefix = scheme.empty() ? flag(step, "add_prefix_space", true) : scheme != "never";
  vocab.add_space_prefix = vocab.add_space_prefix || prefix;
  vocab.prefix_first_only = scheme == "first";
  vocab.prefix_unless_space = prefix;
}

/// One step of byte-level BPE as an expression; empty for none.
Result<std::string> expression_of(const json& step) {
  const std::string type = type_of(step);
  if (type == "ByteLevel") {
    if (flag(step, "add_prefix_space", false)) {
      return unsupported("a pre-tokenizer", "ByteLevel with add_prefix_space");
    }
    return std::string(flag(step, "use_regex", true) ? kByteLevel : "");
  }
  if (type == "Split") {
    const std::string behavior = token_text(step, "behavior");
    const std::string expression = pattern_of(step, "Regex");
    const bool isolates =
        behavior == "Isolated" || (behavior == "Removed" && flag(step, "invert", false));
    if (!isolates || expression.empty()) {
      return unsupported("a pre-tokenizer", "Split with behavior " + behavior);
    }
    return expression;
  }
  if (type == "Digits") {
    return std::string(flag(step, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
  }
  if (type == "Punctuation") {
    const std::string behavior = token_text(step, "behavior");
    if (behavior == "Contiguous") {
      return std::string(R"([\p{P}\$\+<=>\^~\|`]+)");
    }
    if (behavior == "Isolated" || behavior.empty()) {
      return std::string(R"([\p{P}\$\+<=>\^~\|`])");
    }
  }
  return unsupported("a pre-tokenizer", type);
}

Status read_pre_tokenizer(const json& file, bool byte_level, Vocab& vocab) {
  LS_TRY(const std::vector<json> steps, steps_of(file, "pre_tokenizer", "pretokenizers"));
  for (const json& step : steps) {
    const std::string type = type_of(step);
    if (byte_level) {
      LS_TRY(const std::string expression, expression_of(step));
      if (!expression.empty()) {
        vocab.expressions.push_back(expression);
      }
    } else if (type == "Metaspace") {
      read_metaspace(step, vocab);
    } else if (type != "Split" || pattern_of(step, "String") != " ") {
      // Blanks have become U+2581 before: a split at " " finds nothing (Gemma).
      return unsupported("a pre-tokenizer", type);
    }
  }
  if (byte_level && vocab.expressions.empty()) {
    vocab.expressions.emplace_back(R"([\s\S]+)");  // the whole text is one word
  }
  return {};
}

bool has_byte_level(const json& file) {
  for (const auto& [part, list] :
       {std::pair{"pre_tokenizer", "pretokenizers"}, {"decoder", "decoders"}}) {
    const auto steps = steps_of(file, part, list);
    if (steps.ok() && std::any_of(steps.value().begin(), steps.value().end(),
                                  [](const json& s) { return type_of(s) == "ByteLevel"; })) {
      return true;
    }
  }
  return false;
}

Status read_added(const json& file, TokenList& list, Vocab& vocab) {
  const auto added = file.find("added_tokens");
  if (added == file.end() || added->is_null()) {
    return {};
  }
  if (!added->is_array()) {
    return invalid_input("tokenizer.json: 'added_tokens' is not a list");
  }
  for (const json& token : *added) {
    if (!token.is_object() || !token.contains("id")) {
      return invalid_input("tokenizer.json: an entry of 'added_tokens' is not a token");
    }
    LS_CHECK(
        list.add(token_text(token, "content"), token["id"],
                 flag(token, "special", false) ? TokenType::kControl : TokenType::kUserDefined));
    if (flag(token, "rstrip", false)) {
      vocab.strip_after.push_back(token["id"].get<std::int32_t>());
    }
  }
  return {};
}

/// "a b" or ["a", "b"].
std::string merge_text(const json& merge) {
  if (merge.is_string()) {
    return merge.get<std::string>();
  }
  const bool pair =
      merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
  return pair ? merge[0].get<std::string>() + " " + merge[1].get<std::string>() : "";
}

Status read_model(const json& model, bool byte_level, TokenList& list, Vocab& vocab) {
  const std::string type = model.contains("type") ? type_of(model) : "BPE";
  if (type != "BPE") {
    return unsupported("a model", type);
  }
  const auto pieces = model.find("vocab");
  const auto merges = model.find("merges");
  if (pieces == model.end() || !pieces->is_object() || merges == model.end() ||
      !merges->is_array()) {
    return invalid_input("tokenizer.json: the model has no 'vocab' or no 'merges'");
  }
  for (const auto& [piece, id] : pieces->items()) {
    const bool byte = !byte_level && parse_byte_token(piece) >= 0;
    LS_CHECK(list.add(piece, id, byte ? TokenType::kByte : TokenType::kNormal));
  }
  vocab.merges.reserve(merges->size());
  for (const json& merge : *merges) {
    vocab.merges.push_back(merge_text(merge));
  }
  vocab.ignore_merges = flag(model, "ignore_merges", false);
  return {};
}

std::int32_t find_piece(const Vocab& vocab, const std::string& piece) {
  const auto it = std::find(vocab.pieces.begin(), vocab.pieces.end(), piece);
  return piece.empty() || it == vocab.pieces.end()
             ? -1
             : static_cast<std::int32_t>(it - vocab.pieces.begin());
}

/// A template that puts special tokens before or after the text.
Status read_template(const json& step, Vocab& vocab) {
  const auto single = step.find("single");
  if (single == step.end() || !single->is_array()) {
    return invalid_input("tokenizer.json: the post-processor's template has no list 'single'");
  }
  bool after = false;
  for (const json& item : *single) {
    if (!item.is_object()) {
      continue;
    }
    if (item.contains("Sequence")) {
      after = true;
    } else if (item.contains("SpecialToken")) {
      const std::int32_t id = find_piece(vocab, token_text(item["SpecialToken"], "id"));
      (after ? vocab.eos : vocab.bos) = id;
      (after ? vocab.add_eos : vocab.add_bos) = id >= 0;
    }
  }
  return {};
}

/// Scores that make SPM merge in the order of the list; pieces that no merge makes get −∞.
Status score_merges(Vocab& vocab) {
  std::unordered_map<std::string_view, std::size_t> index;
  for (std::size_t i = 0; i < vocab.pieces.size(); ++i) {
    index.emplace(vocab.pieces[i], i);
  }
  vocab.scores.assign(vocab.pieces.size(), -INFINITY);
  for (std::size_t i = 0; i < vocab.merges.size(); ++i) {
    const std::string& merge = vocab.merges[i];
    const std::size_t space = merge.find(' ', 1);
    const auto result = space == std::string::npos
                            ? index.end()
                            : index.find(merge.substr(0, space) + merge.substr(space + 1));
    if (result == index.end()) {
      return invalid_input(fmt::format("tokenizer.json: merge {} ('{}') does not make a token", i,
                                       utf8_escape(std::string_view(merge).substr(0, 80))));
    }
    float& score = vocab.scores[result->second];
    score = std::max(score, -static_cast<float>(i));
  }
  vocab.merges.clear();
  return {};
}

}  // namespace

Status read_tokenizer_json(const json& file, TokenList& list, Vocab& vocab) {
  const auto model = file.find("model");
  if (model == file.end() || !model->is_object()) {
    return invalid_input("tokenizer.json has no 'model'");
  }
  const bool byte_level = has_byte_level(file);
  vocab.model = byte_level ? "gpt2" : "llama";
  vocab.pre = "tokenizer.json";
  LS_CHECK(read_normalizer(file, byte_level, vocab));
  LS_CHECK(read_pre_tokenizer(file, byte_level, vocab));
  LS_CHECK(read_model(*model, byte_level, list, vocab));
  return read_added(file, list, vocab);
}

Status finish_tokenizer_json(const json& file, Vocab& vocab) {
  vocab.unk = find_piece(vocab, token_text(file["model"], "unk_token"));
  LS_TRY(const std::vector<json> steps, steps_of(file, "post_processor", "processors"));
  for (const json& step : steps) {
    if (type_of(step) == "TemplateProcessing") {
      LS_CHECK(read_template(step, vocab));
    }
  }
  if (vocab.unk >= 0 && vocab.types[static_cast<std::size_t>(vocab.unk)] == TokenType::kNormal) {
    vocab.types[static_cast<std::size_t>(vocab.unk)] = TokenType::kUnknown;
  }
  return vocab.model == "llama" ? score_merges(vocab) : Status{};
}

}  // namespace layerscope::tokenizer

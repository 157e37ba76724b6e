#include "engine/tokenizer/vocab.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/tokenizer/pre_tokenizer.h"

namespace layerscope::tokenizer {
namespace {

using format::ModelFile;

constexpr const char* kTokens = "tokenizer.ggml.tokens";

Error must_be(std::string_view key, const char* what) {
  return invalid_input(fmt::format("metadata key '{}' is missing or not {}", key, what));
}

Error wrong_length(std::string_view key, std::size_t n, std::size_t n_tokens) {
  return invalid_input(
      fmt::format("metadata key '{}' has {} entries, but '{}' has {}", key, n, kTokens, n_tokens));
}

Status read_types(const ModelFile& file, Vocab& vocab) {
  constexpr const char* kKey = "tokenizer.ggml.token_type";
  vocab.types.assign(vocab.pieces.size(), TokenType::kNormal);
  if (file.find(kKey) == nullptr && vocab.model == "gpt2") {
    return {};
  }
  const auto types = file.get_ints(kKey);
  if (!types) {
    return must_be(kKey, "an array of integers");
  }
  if (types->size() != vocab.pieces.size()) {
    return wrong_length(kKey, types->size(), vocab.pieces.size());
  }
  for (std::size_t i = 0; i < types->size(); ++i) {
    const std::int64_t type = (*types)[i];
    if (type < 0 || type > 6) {
      return invalid_input(
          fmt::format("metadata key '{}': entry {} is {}, but token types are 1 "
                      "to 6",
                      kKey, i, type));
    }
    if (type != 0) {  // 0 is "undefined": an ordinary token
      vocab.types[i] = static_cast<TokenType>(type);
    }
  }
  return {};
}

Status read_scores(const ModelFile& file, Vocab& vocab) {
  constexpr const char* kKey = "tokenizer.ggml.scores";
  const auto scores = file.get_floats(kKey);
  if (!scores) {
    return must_be(kKey, "an array of floats");
  }
  if (scores->size() != vocab.pieces.size()) {
    return wrong_length(kKey, scores->size(), vocab.pieces.size());
  }
  vocab.scores.reserve(scores->size());
  for (std::size_t i = 0; i < scores->size(); ++i) {
    if (std::isnan((*scores)[i])) {
      return invalid_input(fmt::format("metadata key '{}': entry {} is not a number", kKey, i));
    }
    vocab.scores.push_back(static_cast<float>((*scores)[i]));
  }
  return {};
}

/// A token id from `key`, `otherwise` when the key is absent (or that one does not exist either).
Result<std::int32_t> read_id(const ModelFile& file, const std::string& key, std::size_t n_tokens,
                             std::int32_t otherwise) {
  LS_TRY(const std::optional<std::int64_t> id, file.get_int(key));
  if (!id) {
    return otherwise < static_cast<std::int64_t>(n_tokens) ? otherwise : -1;
  }
  if (*id < 0 || *id >= static_cast<std::int64_t>(n_tokens)) {
    return invalid_input(fmt::format(
        "metadata key '{}' is {}, but the vocabulary has only {} tokens", key, *id, n_tokens));
  }
  return static_cast<std::int32_t>(*id);
}

Status read_special_ids(const ModelFile& file, Vocab& vocab) {
  const std::size_t n = vocab.pieces.size();
  const bool spm = vocab.model == "llama";  // SPM's own defaults: <unk> 0, <s> 1, </s> 2
  LS_TRY(vocab.bos, read_id(file, "tokenizer.ggml.bos_token_id", n, spm ? 1 : -1));
  LS_TRY(vocab.eos, read_id(file, "tokenizer.ggml.eos_token_id", n, spm ? 2 : -1));
  LS_TRY(vocab.unk, read_id(file, "tokenizer.ggml.unknown_token_id", n, spm ? 0 : -1));
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    LS_TRY(const std::int32_t id, read_id(file, key, n, -1));
    if (id >= 0) {
      vocab.end_ids.push_back(id);
    }
  }
  return {};
}

/// Reads a switch that asks for token `id`; asking for one that does not exist contradicts itself.
Result<bool> read_adds(const ModelFile& file, const std::string& key, bool otherwise,
                       std::int32_t id, const char* id_key) {
  LS_TRY(const std::optional<bool> adds, file.get_bool(key));
  if (adds.value_or(false) && id < 0) {
    return invalid_input(
        fmt::format("metadata key '{}' is true, but '{}' is missing", key, id_key));
  }
  return adds.value_or(otherwise) && id >= 0;
}

Status read_flags(const ModelFile& file, Vocab& vocab) {
  const bool spm = vocab.model == "llama";
  const bool bos_by_default = spm || pre_tokenizer_adds_bos(vocab.pre);
  LS_TRY(vocab.add_bos, read_adds(file, "tokenizer.ggml.add_bos_token", bos_by_default, vocab.bos,
                                  "tokenizer.ggml.bos_token_id"));
  LS_TRY(vocab.add_eos, read_adds(file, "tokenizer.ggml.add_eos_token", false, vocab.eos,
                                  "tokenizer.ggml.eos_token_id"));
  LS_TRY(const auto prefix, file.get_bool("tokenizer.ggml.add_space_prefix"));
  vocab.add_space_prefix = spm && prefix.value_or(true);
  LS_TRY(const auto chat_template, file.get_string("tokenizer.chat_template"));
  vocab.chat_template = chat_template.value_or("");
  // The reference implementation recognises this family by its name alone.
  LS_TRY(const auto given_name, file.get_string("general.name"));
  std::string name = given_name.value_or("");
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  vocab.strip_after_special =
      name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
  return {};
}

}  // namespace

Result<Vocab> vocab_from_model(const ModelFile& file) {
  Vocab vocab;
  LS_TRY(const auto model, file.get_string("tokenizer.ggml.model"));
  if (!model) {
    return must_be("tokenizer.ggml.model", "a string; the file holds no tokenizer");
  }
  vocab.model = *model;
  LS_TRY(const auto pre, file.get_string("tokenizer.ggml.pre"));
  vocab.pre = pre.value_or("default");
  const auto* pieces = file.get_strings(kTokens);
  if (pieces == nullptr || pieces->empty()) {
    return must_be(kTokens, "a list of strings");
  }
  vocab.pieces = *pieces;
  LS_CHECK(read_types(file, vocab));
  if (vocab.model == "llama") {
    LS_CHECK(read_scores(file, vocab));
  }
  if (vocab.model == "gpt2") {
    constexpr const char* kMerges = "tokenizer.ggml.merges";
    const auto* merges = file.get_strings(kMerges);
    if (merges == nullptr) {
      return must_be(kMerges, "an array of strings");
    }
    vocab.merges = *merges;
  }
  LS_CHECK(read_special_ids(file, vocab));
  LS_CHECK(read_flags(file, vocab));
  return vocab;
}

}  // namespace layerscope::tokenizer

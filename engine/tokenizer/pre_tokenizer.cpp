#include "engine/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <array>

#include "engine/base/utf8.h"

namespace layerscope::tokenizer {
namespace {

// The expressions that the models' authors publish. `\s` is expanded by white_space() below.
constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Entry {
  const char* name;
  const char* expression;
  bool adds_bos;
  bool ignores_merges;
};

constexpr std::array<Entry, 7> kEntries{{
    {"default", kGpt2, false, false},
    {"gpt-2", kGpt2, false, false},
    {"qwen2", kQwen2, false, false},
    {"deepseek-r1-qwen", kQwen2, false, false},
    {"llama-bpe", kLlama3, true, true},
    {"llama3", kLlama3, true, true},
    {"llama-v3", kLlama3, true, true},
}};

const Entry* find_entry(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (name == entry.name) {
      return &entry;
    }
  }
  return nullptr;
}

/// Writes `\s` and `\S` as Unicode's White_Space. PCRE2's own `\s` also matches U+180E, which is a
/// letter-like mark in Mongolian text since Unicode 6.3.
std::string white_space(std::string_view expression) {
  constexpr const char* kSet = R"(\t-\r\x{85}\p{Z})";
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    const char next = i + 1 < expression.size() ? expression[i + 1] : '\0';
    if (c == '\\' && next == 's') {
      out += in_class ? kSet : fmt::format("[{}]", kSet);
      ++i;
    } else if (c == '\\' && next == 'S') {
      out += fmt::format("[^{}]", kSet);
      ++i;
    } else {
      in_class = c == '[' || (in_class && c != ']');
      out += c;
    }
  }
  return out;
}

struct MatchDataDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

/// Length of the longest valid UTF-8 prefix of `text`.
std::size_t valid_prefix(std::string_view text) {
  std::size_t pos = 0;
  while (pos < text.size()) {
    if (static_cast<unsigned char>(text[pos]) < 0x80) {
      ++pos;
      continue;
    }
    const std::size_t start = pos;
    utf8_next(text, pos);
    if (pos == start + 1) {
      return start;  // a lone byte of 0x80 or above is never valid
    }
  }
  return pos;
}

}  // namespace

struct PreTokenizer::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

bool pre_tokenizer_adds_bos(std::string_view name) {
  const Entry* entry = find_entry(name);
  return entry != nullptr && entry->adds_bos;
}

bool pre_tokenizer_ignores_merges(std::string_view name) {
  const Entry* entry = find_entry(name);
  return entry != nullptr && entry->ignores_merges;
}

Result<PreTokenizer> PreTokenizer::create(std::string_view name) {
  const Entry* entry = find_entry(name);
  if (entry == nullptr) {
    std::string known;
    for (const Entry& each : kEntries) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", each.name);
    }
    return invalid_input(fmt::format("pre-tokenizer '{}' is not supported (these are: {})",
                                     utf8_escape(name.substr(0, 80)), known));
  }
  const std::string expression = white_space(entry->expression);
  int error = 0;
  PCRE2_SIZE error_offset = 0;
  auto code = std::make_shared<Code>();
  code->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &error_offset, nullptr);
  if (code->code == nullptr) {
    return internal_error(
        fmt::format("the expression of pre-tokenizer '{}' does not compile: "
                    "PCRE2 error {} at {}",
                    name, error, error_offset));
  }
  // Where there is no just-in-time compiler, matching is interpreted: slower, the same result.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  return PreTokenizer(std::move(code));
}

void PreTokenizer::split(std::string_view text, std::vector<std::size_t>& ends) const {
  const std::unique_ptr<pcre2_match_data, MatchDataDeleter> match(
      pcre2_match_data_create_from_pattern(code_->code, nullptr));
  // The check of the whole text at every match would be quadratic; validity is known here.
  const auto match_at = [&](std::string_view valid, std::size_t pos, std::uint32_t options) {
    return pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(valid.data()), valid.size(), pos,
                       options | PCRE2_NO_UTF_CHECK, match.get(), nullptr);
  };
  std::size_t base = 0;
  while (base < text.size()) {
    const std::string_view valid = text.substr(base, valid_prefix(text.substr(base)));
    for (std::size_t pos = 0; pos < valid.size();) {
      int found = match_at(valid, pos, 0);
      if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
        found = match_at(valid, pos, PCRE2_NO_JIT);  // which keeps its backtracking on the heap
      }
      std::size_t end = pos;
      if (found > 0) {
        end = pcre2_get_ovector_pointer(match.get())[1];
      }
      if (end <= pos) {  // not reached by these expressions, which match any character
        utf8_next(valid, end = pos);
      }
      ends.push_back(base + end);
      pos = end;
    }
    base += valid.size();
    if (base < text.size()) {
      ends.push_back(++base);  // one invalid byte
    }
  }
}

}  // namespace layerscope::tokenizer

#include "engine/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <utility>

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
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDigit = R"(\p{N})";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";
constexpr const char* kFalconPunctuation = R"([\p{P}\$\+<=>\^~\|`]+)";

struct Entry {
  const char* name;
  std::array<const char*, 3> expressions;  ///< in order; null: none
  bool adds_bos;
  bool ignores_merges;
};

// Names as converters write them into `tokenizer.ggml.pre`.
constexpr std::array<Entry, 31> kEntries{{
    {"default", {kGpt2}, false, false},
    {"gpt-2", {kGpt2}, false, false},
    {"phi-2", {kGpt2}, false, false},
    {"mpt", {kGpt2}, false, false},
    {"olmo", {kGpt2}, false, false},
    {"jais", {kGpt2}, false, false},
    {"roberta-bpe", {kGpt2}, false, false},
    {"qwen2", {kQwen2}, false, false},
    {"stablelm2", {kQwen2}, false, false},
    {"hunyuan", {kQwen2}, false, false},
    {"megrez", {kQwen2}, false, false},
    {"deepseek-r1-qwen", {kQwen2}, false, false},
    {"llama-bpe", {kLlama3}, true, true},
    {"llama3", {kLlama3}, true, true},
    {"llama-v3", {kLlama3}, true, true},
    {"falcon3", {kLlama3}, true, true},
    {"pixtral", {kLlama3}, true, true},
    {"lfm2", {kLlama3}, true, true},
    {"dbrx", {kLlama3}, false, false},
    {"smaug-bpe", {kLlama3}, false, false},
    {"tekken", {kTekken}, true, true},
    {"gpt-4o", {kGpt4o}, false, false},
    {"llama4", {kGpt4o}, false, false},
    {"falcon", {kFalconPunctuation, kGpt2, kThreeDigits}, false, false},
    {"starcoder", {kDigit, kGpt2}, false, false},
    {"refact", {kDigit, kGpt2}, false, false},
    {"command-r", {kDigit, kGpt2}, false, false},
    {"smollm", {kDigit, kGpt2}, false, false},
    {"codeshell", {kDigit, kGpt2}, false, false},
    {"exaone", {kDigit, kGpt2}, false, false},
    {"minerva-7b", {kDigit, kGpt2}, false, false},
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
    } else if (c == '\\' && next == 'S' && !in_class) {
      out += fmt::format("[^{}]", kSet);
      ++i;
    } else if (c == '\\' && next != '\0') {
      out.append({c, next});
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

/// One expression, compiled.
class Expression {
 public:
  Expression() = default;
  Expression(Expression&& other) noexcept : code_(std::exchange(other.code_, nullptr)) {}
  Expression& operator=(Expression&& other) noexcept {
    std::swap(code_, other.code_);
    return *this;
  }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;
  ~Expression() { pcre2_code_free(code_); }

  static Result<Expression> compile(std::string_view text) {
    const std::string expanded = white_space(text);
    int error = 0;
    PCRE2_SIZE offset = 0;
    Expression expression;
    // \C would cut characters; the options keep a file's expression from asking for it.
    expression.code_ =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expanded.data()), expanded.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
    if (expression.code_ == nullptr) {
      std::array<PCRE2_UCHAR, 200> message{};
      pcre2_get_error_message(error, message.data(), message.size());
      return invalid_input(fmt::format("the pre-tokenizer's expression '{}' does not compile: {}",
                                       utf8_escape(text.substr(0, 200)),
                                       reinterpret_cast<const char*>(message.data())));
    }
    // Where there is no just-in-time compiler, matching is interpreted: slower, the same result.
    pcre2_jit_compile(expression.code_, PCRE2_JIT_COMPLETE);
    return expression;
  }

  [[nodiscard]] const pcre2_code* code() const { return code_; }

 private:
  pcre2_code* code_ = nullptr;
};

struct MatchContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

/// Cuts valid UTF-8 at the matches of one expression.
class Cutter {
 public:
  Cutter(const Expression& expression, std::uint32_t most_steps)
      : code_(expression.code()),
        match_(pcre2_match_data_create_from_pattern(code_, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {
    pcre2_set_match_limit(context_.get(), most_steps);
  }

  /// Appends the ends of the pieces of `text`, which stands at `base`.
  void cut(std::string_view text, std::size_t base, std::vector<std::size_t>& ends) const {
    std::size_t pos = 0;
    while (pos < text.size()) {
      const auto [begin, end] = next_match(text, pos);
      if (begin > pos) {
        ends.push_back(base + begin);
      }
      if (end > begin) {
        ends.push_back(base + end);
      }
      pos = end;
    }
  }

 private:
  /// The next match that is not empty; the end of the text twice when there is none.
  [[nodiscard]] std::pair<std::size_t, std::size_t> next_match(std::string_view text,
                                                               std::size_t from) const {
    // The check of the whole text at every match would be quadratic; validity is known here.
    const auto match_at = [&](std::uint32_t options) {
      return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                         options | PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match_.get(),
                         context_.get());
    };
    int found = match_at(0);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      found = match_at(PCRE2_NO_JIT);  // which keeps its backtracking on the heap
    }
    if (found <= 0) {
      return {text.size(), text.size()};
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_.get());
    // \K can put the start behind the end.
    const std::size_t begin = std::clamp<std::size_t>(range[0], from, text.size());
    const std::size_t end = std::clamp<std::size_t>(range[1], begin, text.size());
    return end > begin ? std::pair{begin, end} : std::pair{text.size(), text.size()};
  }

  const pcre2_code* code_;
  std::unique_ptr<pcre2_match_data, MatchDataDeleter> match_;
  std::unique_ptr<pcre2_match_context, MatchContextDeleter> context_;
};

}  // namespace

struct PreTokenizer::Code {
  std::vector<Expression> expressions;
  std::uint32_t most_steps = 10000000;  ///< of one match; PCRE2's own default
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
  auto code = std::make_shared<Code>();
  for (const char* text : entry->expressions) {
    if (text != nullptr) {
      LS_TRY(Expression expression, Expression::compile(text));
      code->expressions.push_back(std::move(expression));
    }
  }
  return PreTokenizer(std::move(code));
}

Result<PreTokenizer> PreTokenizer::from_expressions(const std::vector<std::string>& expressions) {
  auto code = std::make_shared<Code>();
  code->most_steps = 1000000;  // a file's expression may backtrack without end
  for (const std::string& text : expressions) {
    LS_TRY(Expression expression, Expression::compile(text));
    code->expressions.push_back(std::move(expression));
  }
  return PreTokenizer(std::move(code));
}

void PreTokenizer::split(std::string_view text, std::vector<std::size_t>& ends) const {
  std::vector<Cutter> cutters;
  for (const Expression& expression : code_->expressions) {
    cutters.emplace_back(expression, code_->most_steps);
  }
  std::vector<std::size_t> pieces, finer;
  std::size_t base = 0;
  while (base < text.size()) {
    const std::string_view valid = text.substr(base, valid_prefix(text.substr(base)));
    pieces.clear();
    if (!valid.empty()) {
      pieces.push_back(base + valid.size());
    }
    for (const Cutter& cutter : cutters) {
      finer.clear();
      std::size_t begin = base;
      for (const std::size_t end : pieces) {
        cutter.cut(text.substr(begin, end - begin), begin, finer);
        begin = end;
      }
      pieces.swap(finer);
    }
    ends.insert(ends.end(), pieces.begin(), pieces.end());
    base += valid.size();
    if (base < text.size()) {
      ends.push_back(++base);  // one invalid byte
    }
  }
}

}  // namespace layerscope::tokenizer

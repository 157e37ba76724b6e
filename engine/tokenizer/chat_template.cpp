// render_chat: a conversation in the model's own format, by its Jinja template.
//
// A template comes with the model file and is as little trusted as the rest of it. Its length, the
// number of {{ }} or {% %} blocks, each one's length and nesting are bounded first. It is then
// rendered by run_isolated, since the engine offers no hook to bound the time and memory of a loop
// over large ranges or the recursion of a macro that calls itself. It can read nothing but the
// values given here.
#include <fmt/format.h>

#include <algorithm>
#include <minja/minja.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/isolated.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::tokenizer {
namespace {

/// Several times the longest that models come with (about 20 KB).
constexpr std::size_t kMaxTemplateBytes = 64U << 10U;
/// Parsing takes time with the square of their number: 2 s for 1000, measured.
constexpr std::size_t kMaxBlocks = 1000;
constexpr std::size_t kMaxBlockBytes = 16U << 10U;
constexpr int kMaxNesting = 64;
/// The stack: the standard library's regular expressions, with which the engine finds the end of
/// plain text, recurse once per character or so (25 MB for 128 KB, measured).
constexpr IsolatedLimits kLimits{.time = std::chrono::milliseconds(5000),
                                 .memory = std::uint64_t{256} << 20U,
                                 .output = std::uint64_t{16} << 20U,
                                 .stack = std::size_t{128} << 20U};

/// Checks one block's length and nesting; brackets inside strings count too, which only errs on the
/// safe side.
Status check_block(std::string_view block, std::size_t begin) {
  if (block.size() > kMaxBlockBytes) {
    return invalid_input(
        fmt::format("the chat template has a block of {} bytes at offset {}, more "
                    "than the {} that are accepted",
                    block.size(), begin, kMaxBlockBytes));
  }
  int depth = 0;
  for (const char c : block) {
    depth += c == '(' || c == '[' || c == '{' ? 1 : 0;
    depth -= (c == ')' || c == ']' || c == '}') && depth > 0 ? 1 : 0;
    if (depth > kMaxNesting) {
      return invalid_input(
          fmt::format("the chat template nests more than {} brackets in the block "
                      "at offset {}",
                      kMaxNesting, begin));
    }
  }
  return {};
}

Status check_template(std::string_view source) {
  if (source.empty()) {
    return invalid_input("the model has no chat template; give the prompt as plain text");
  }
  if (source.size() > kMaxTemplateBytes) {
    return invalid_input(
        fmt::format("the chat template has {} bytes, more than the {} that are "
                    "accepted",
                    source.size(), kMaxTemplateBytes));
  }
  std::size_t n_blocks = 0;
  for (std::size_t begin = source.find('{'); begin != std::string_view::npos;) {
    const char kind = begin + 1 < source.size() ? source[begin + 1] : '\0';
    if (kind != '{' && kind != '%') {
      begin = source.find('{', begin + 1);
      continue;
    }
    if (++n_blocks > kMaxBlocks) {
      return invalid_input(
          fmt::format("the chat template has more than {} blocks, which is too many", kMaxBlocks));
    }
    const std::size_t close = source.find(kind == '{' ? "}}" : "%}", begin + 2);
    const std::size_t end = std::min(close, source.size() - 2) + 2;
    LS_CHECK(check_block(source.substr(begin, end - begin), begin));
    begin = source.find('{', end);
  }
  return {};
}

std::string render(const std::string& source, const nlohmann::ordered_json& values) {
  // As the models' own library renders them: block lines leave neither their newline nor
  // indentation.
  const minja::Options options{
      .trim_blocks = true, .lstrip_blocks = true, .keep_trailing_newline = false};
  const auto root = minja::Parser::parse(source, options);
  return root->render(minja::Context::make(minja::Value(values)));
}

/// The engine's messages go on with an excerpt of the template over several lines: the first says
/// it.
std::string first_line(std::string_view message) {
  return utf8_escape(message.substr(0, std::min(message.find('\n'), std::size_t{300})));
}

}  // namespace

Result<std::string> render_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                bool add_generation_prompt) {
  LS_CHECK(check_template(tokenizer.chat_template()));
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  const nlohmann::ordered_json values = {
      {"messages", std::move(list)},
      {"add_generation_prompt", add_generation_prompt},
      {"bos_token", std::string(tokenizer.piece(tokenizer.bos()))},
      {"eos_token", std::string(tokenizer.piece(tokenizer.eos()))},
  };
  auto rendered = run_isolated(
      kLimits, [&]() -> Result<std::string> { return render(tokenizer.chat_template(), values); });
  if (!rendered.ok()) {
    return Error{rendered.error().code, fmt::format("the model's chat template fails: {}",
                                                    first_line(rendered.error().message))};
  }
  std::string text = std::move(rendered).value();
  // Many templates write BOS themselves. Where the tokenizer adds it, one of the two is enough.
  const std::string_view bos = tokenizer.piece(tokenizer.bos());
  if (tokenizer.adds_bos() && !bos.empty() && text.starts_with(bos)) {
    text.erase(0, bos.size());
  }
  return text;
}

}  // namespace layerscope::tokenizer

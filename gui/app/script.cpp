#include "gui/app/script.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace layerscope::gui {
namespace {

struct VerbInfo {
  const char* name;
  Verb verb;
  std::size_t min_args, max_args;
  const char* usage;
};

constexpr std::array kVerbs{
    VerbInfo{"open", Verb::kOpen, 1, 1, "open PATH"},
    VerbInfo{"click", Verb::kClick, 1, 1, "click ID"},
    VerbInfo{"double-click", Verb::kDoubleClick, 1, 1, "double-click ID"},
    VerbInfo{"right-click", Verb::kRightClick, 1, 1, "right-click ID"},
    VerbInfo{"hover", Verb::kHover, 1, 1, "hover ID"},
    VerbInfo{"type", Verb::kType, 2, 2, "type ID TEXT"},
    VerbInfo{"key", Verb::kKey, 1, 1, "key CHORD"},
    VerbInfo{"drop", Verb::kDrop, 1, 1, "drop PATH"},
    VerbInfo{"scroll", Verb::kScroll, 2, 2, "scroll ID NOTCHES"},
    VerbInfo{"drag", Verb::kDrag, 3, 3, "drag ID DX DY"},
    VerbInfo{"resize", Verb::kResize, 1, 1, "resize WxH"},
    VerbInfo{"wait", Verb::kWait, 1, 3,
             "wait steps N | idle | loaded | frames N | widget ID | state ID VALUE"},
    VerbInfo{"wait-until", Verb::kWaitUntil, 2, 2, "wait-until ID VALUE"},
    VerbInfo{"wait-contains", Verb::kWaitContains, 2, 2, "wait-contains ID TEXT"},
    VerbInfo{"assert", Verb::kAssert, 2, 2, "assert ID VALUE"},
    VerbInfo{"assert-contains", Verb::kAssertContains, 2, 2, "assert-contains ID TEXT"},
    VerbInfo{"assert-not", Verb::kAssertNot, 2, 2, "assert-not ID VALUE"},
    VerbInfo{"assert-widget", Verb::kAssertWidget, 1, 1, "assert-widget ID"},
    VerbInfo{"assert-no-widget", Verb::kAssertNoWidget, 1, 1, "assert-no-widget ID"},
    VerbInfo{"assert-texts-fit", Verb::kAssertTexts, 0, 0, "assert-texts-fit"},
    VerbInfo{"draw", Verb::kDraw, 1, 1, "draw all | pictures"},
    VerbInfo{"screenshot", Verb::kScreenshot, 1, 1, "screenshot FILE.png"},
    VerbInfo{"set", Verb::kSet, 2, 2, "set NAME VALUE"},
    VerbInfo{"print", Verb::kPrint, 1, 1, "print ID"},
    VerbInfo{"measure", Verb::kMeasure, 1, 1, "measure start | NAME"},
    VerbInfo{"inputs", Verb::kInputs, 1, 1, "inputs PER_SECOND"},
    VerbInfo{"timeout", Verb::kTimeout, 1, 1, "timeout SECONDS"},
};

struct WaitInfo {
  const char* kind;
  std::size_t args;
};
constexpr std::array kWaits{WaitInfo{"steps", 2},  WaitInfo{"idle", 1},   WaitInfo{"loaded", 1},
                            WaitInfo{"frames", 2}, WaitInfo{"widget", 2}, WaitInfo{"state", 3}};

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return -1;
}

/// Reads one quoted word; `at` stands behind the opening quote.
Result<std::string> quoted_word(std::string_view line, std::size_t& at) {
  std::string word;
  while (at < line.size()) {
    const char c = line[at++];
    if (c == '"') {
      return word;
    }
    if (c != '\\') {
      word += c;
      continue;
    }
    if (at >= line.size()) {
      break;
    }
    const char escape = line[at++];
    switch (escape) {
      case 'n':
        word += '\n';
        break;
      case 't':
        word += '\t';
        break;
      case '"':
      case '\\':
        word += escape;
        break;
      case '$':
        word += "\\$";  // kept for expand_variables, which drops the backslash
        break;
      case 'x': {
        const int high = at < line.size() ? hex_digit(line[at]) : -1;
        const int low = at + 1 < line.size() ? hex_digit(line[at + 1]) : -1;
        if (high < 0 || low < 0) {
          return usage_error("\\x needs two hexadecimal digits");
        }
        word += static_cast<char>(high * 16 + low);
        at += 2;
        break;
      }
      default:
        return usage_error(fmt::format("unknown escape '\\{}'", escape));
    }
  }
  return usage_error("a quoted word does not end");
}

Result<std::vector<std::string>> split_words(std::string_view line) {
  std::vector<std::string> words;
  std::size_t at = 0;
  while (at < line.size()) {
    if (blank(line[at])) {
      ++at;
    } else if (line[at] == '#') {
      break;
    } else if (line[at] == '"') {
      ++at;
      LS_TRY(std::string word, quoted_word(line, at));
      if (at < line.size() && !blank(line[at])) {
        return usage_error("a blank must follow a quoted word");
      }
      words.push_back(std::move(word));
    } else {
      const std::size_t start = at;
      while (at < line.size() && !blank(line[at])) {
        ++at;
      }
      words.emplace_back(line.substr(start, at - start));
    }
  }
  return words;
}

Result<ScriptAction> parse_action(std::vector<std::string> words) {
  const auto info = std::find_if(kVerbs.begin(), kVerbs.end(),
                                 [&words](const VerbInfo& v) { return words[0] == v.name; });
  if (info == kVerbs.end()) {
    return usage_error(fmt::format("unknown action '{}'", words[0]));
  }
  ScriptAction action;
  action.verb = info->verb;
  action.args.assign(words.begin() + 1, words.end());
  bool right = action.args.size() >= info->min_args && action.args.size() <= info->max_args;
  if (right && action.verb == Verb::kWait) {
    right = std::any_of(kWaits.begin(), kWaits.end(), [&action](const WaitInfo& wait) {
      return action.args[0] == wait.kind && action.args.size() == wait.args;
    });
  }
  if (!right) {
    return usage_error(fmt::format("expected: {}", info->usage));
  }
  return action;
}

/// Edit distance, for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

Result<std::vector<ScriptAction>> parse_script(std::string_view name, std::string_view text) {
  std::vector<ScriptAction> actions;
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    auto words = split_words(line);
    if (words.ok() && words.value().empty()) {
      continue;
    }
    auto action =
        words.ok() ? parse_action(std::move(words).value()) : Result<ScriptAction>(words.error());
    if (!action.ok()) {
      return usage_error(fmt::format("{}:{}: {}", name, number, action.error().message));
    }
    action.value().line = number;
    action.value().text = std::string(line);
    actions.push_back(std::move(action).value());
  }
  return actions;
}

Result<std::string> expand_variables(std::string_view text, const Lookup& lookup) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && at + 1 < text.size() && text[at + 1] == '$') {
      result += '$';
      ++at;
    } else if (text[at] == '$' && at + 1 < text.size() && text[at + 1] == '{') {
      const std::size_t end = text.find('}', at);
      if (end == std::string_view::npos) {
        return usage_error(fmt::format("'{}' has '${{' without '}}'", text));
      }
      const std::string_view name = text.substr(at + 2, end - at - 2);
      const auto value = lookup(name);
      if (!value) {
        return usage_error(fmt::format("unknown variable ${{{}}}", name));
      }
      result += *value;
      at = end;
    } else {
      result += text[at];
    }
  }
  return result;
}

std::vector<std::string> near_ids(std::string_view wanted, const std::vector<std::string>& ids,
                                  std::size_t limit) {
  std::vector<std::pair<std::size_t, std::string>> ranked;
  for (const std::string& id : ids) {
    // Ids that contain the wanted text, or begin like it, are better guesses than short edits.
    std::size_t cost = 2 * distance(wanted, id);
    if (id.find(wanted) != std::string::npos) {
      cost = 0;
    } else if (id.substr(0, id.find('/')) == wanted.substr(0, wanted.find('/'))) {
      cost /= 2;
    }
    ranked.emplace_back(cost, id);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> best;
  for (std::size_t i = 0; i < ranked.size() && i < limit; ++i) {
    best.push_back(ranked[i].second);
  }
  return best;
}

Result<double> parse_number(const std::string& word) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (word.empty() || end != word.c_str() + word.size() || !std::isfinite(value)) {
    return usage_error(fmt::format("'{}' is not a number", word));
  }
  return value;
}

Result<std::pair<int, int>> parse_size(const std::string& word) {
  int width = 0;
  int height = 0;
  int used = 0;
  if (std::sscanf(word.c_str(), "%dx%d%n", &width, &height, &used) != 2 ||
      static_cast<std::size_t>(used) != word.size() || width < 1 || height < 1 || width > 16384 ||
      height > 16384) {
    return usage_error(fmt::format("'{}' is not a size such as 1600x1000", word));
  }
  return std::pair{width, height};
}

}  // namespace layerscope::gui

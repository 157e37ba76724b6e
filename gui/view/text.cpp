#include "gui/view/text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <type_traits>

#include "engine/base/utf8.h"

namespace layerscope::gui::view {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

template <typename T>
std::string item_text(const T& item) {
  if constexpr (std::is_same_v<T, bool>) {
    return item ? "true" : "false";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return "\"" + utf8_escape(item) + "\"";
  } else if constexpr (std::is_same_v<T, double>) {
    return fmt::format("{:g}", item);
  } else {
    return fmt::format("{}", item);
  }
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits{"B", "kB", "MB", "GB", "TB"};
  if (bytes < 1000) {
    return fmt::format("{} B", bytes);
  }
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000.0;
    ++unit;
  }
  const int decimals = value < 10.0 ? 2 : (value < 100.0 ? 1 : 0);
  return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

std::string count_text(std::uint64_t n) {
  const double value = static_cast<double>(n);
  if (n < 1000) {
    return fmt::format("{}", n);
  }
  if (value < 999.5e3) {
    return fmt::format("{:.0f}k", value / 1e3);
  }
  if (value < 999.5e6) {
    return fmt::format("{:.{}f}M", value / 1e6, value < 99.5e6 ? 1 : 0);
  }
  return fmt::format("{:.{}f}B", value / 1e9, value < 9.995e9 ? 2 : 1);
}

std::string grouped(std::uint64_t n) {
  std::string digits = fmt::format("{}", n);
  for (std::size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string number_text(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value > 0 ? "inf" : "-inf";
  }
  const double magnitude = std::fabs(value);
  if (magnitude == 0.0) {
    return "0";
  }
  if (magnitude >= 1e6 || magnitude < 1e-4) {
    return fmt::format("{:.2e}", value);
  }
  const int before = static_cast<int>(std::floor(std::log10(magnitude))) + 1;
  const int decimals = before >= 4 ? 0 : (before >= 1 ? 4 - before : 4);
  return fmt::format("{:.{}f}", value, decimals);
}

std::string percent_text(double fraction) {
  if (!std::isfinite(fraction)) {
    return number_text(fraction);
  }
  const double percent = fraction * 100.0;
  if (percent > 0.0 && percent < 0.01) {
    return "<0.01%";
  }
  return fmt::format("{:.{}f}%", percent, percent < 1.0 ? 2 : 1);
}

bool contains_ci(std::string_view text, std::string_view needle) {
  if (needle.size() > text.size()) {
    return false;
  }
  for (std::size_t start = 0; start + needle.size() <= text.size(); ++start) {
    std::size_t i = 0;
    while (i < needle.size() && lower(text[start + i]) == lower(needle[i])) {
      ++i;
    }
    if (i == needle.size()) {
      return true;
    }
  }
  return false;
}

std::string cut_text(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) {
    return std::string(text);
  }
  return std::string(text.substr(0, utf8_complete_prefix(text.substr(0, limit)))) + "…";
}

std::string meta_text(const format::MetaValue& value, std::size_t limit) {
  return std::visit(
      [limit](const auto& held) -> std::string {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, std::string>) {
          // Escaping a very long text for one line would be wasted work.
          return cut_text(utf8_escape(std::string_view(held).substr(0, limit * 2)), limit);
        } else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, double> ||
                             std::is_integral_v<T>) {
          return item_text(held);
        } else {
          std::string text = fmt::format("[{}]", grouped(held.size()));
          for (std::size_t i = 0; i < held.size() && text.size() < limit; ++i) {
            using Item = typename T::value_type;
            text += (i == 0 ? " " : ", ") + item_text(static_cast<Item>(held[i]));
          }
          return cut_text(text, limit);
        }
      },
      value);
}

ChipText chip_text_of(std::string_view bytes, bool control) {
  ChipText chip;
  chip.control = control;
  if (control) {
    std::string_view name = bytes;
    if (name.size() > 4 && name.starts_with("<|") && name.ends_with("|>")) {
      name = name.substr(2, name.size() - 4);
    } else if (name.size() > 2 && name.front() == '<' && name.back() == '>') {
      name = name.substr(1, name.size() - 2);
    }
    chip.text = "‹" + utf8_escape(name) + "›";
    return chip;
  }
  chip.ends_line = !bytes.empty() && bytes.back() == '\n';
  std::string_view rest = bytes;
  if (rest.size() > 1 && rest.front() == ' ' && rest[1] != ' ' && rest[1] != '\n') {
    chip.gap_before = true;
    rest.remove_prefix(1);
  }
  if (!utf8_valid(rest)) {
    chip.text = utf8_escape(rest);
    return chip;
  }
  for (const char c : rest) {
    switch (c) {
      case ' ':
        chip.text += "␣";
        break;
      case '\n':
        chip.text += "⏎";
        break;
      case '\t':
        chip.text += "⇥";
        break;
      case '\r':
        chip.text += "␍";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          chip.text += utf8_escape(std::string_view(&c, 1));
        } else {
          chip.text += c;
        }
    }
  }
  if (chip.text.empty()) {
    chip.text = "∅";
  }
  return chip;
}

ChipText chip_text(const tokenizer::Tokenizer* tokenizer, std::int32_t id) {
  if (tokenizer == nullptr || id < 0 || id >= tokenizer->n_tokens()) {
    ChipText chip;
    chip.text = fmt::format("#{}", id);
    return chip;
  }
  const tokenizer::TokenType type = tokenizer->type(id);
  const bool control =
      type == tokenizer::TokenType::kControl || type == tokenizer::TokenType::kUnused;
  const std::string bytes = tokenizer->decode(id, true);
  return chip_text_of(bytes.empty() && control ? tokenizer->piece(id) : bytes, control);
}

std::string token_bytes(const tokenizer::Tokenizer* tokenizer, std::int32_t id) {
  if (tokenizer == nullptr || id < 0 || id >= tokenizer->n_tokens()) {
    return fmt::format("#{}", id);
  }
  std::string bytes = tokenizer->decode(id, true);
  return bytes.empty() ? std::string(tokenizer->piece(id)) : bytes;
}

std::string quoted_token(const tokenizer::Tokenizer* tokenizer, std::int32_t id) {
  if (tokenizer == nullptr || id < 0 || id >= tokenizer->n_tokens()) {
    return fmt::format("#{}", id);
  }
  return "\"" + utf8_escape(token_bytes(tokenizer, id)) + "\"";
}

}  // namespace layerscope::gui::view

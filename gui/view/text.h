// Text: how numbers, sizes, tokens and metadata are written in the window. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/format/model_file.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::gui::view {

/// "512 B", "15.2 MB", "1.42 GB" (powers of 1000, as disks and model cards count).
std::string bytes_text(std::uint64_t bytes);
/// "812", "7.1M", "1.54B": a count of parameters.
std::string count_text(std::uint64_t n);
/// "1,912"
std::string grouped(std::uint64_t n);
/// Four significant digits, "nan", "inf", "-inf"; never longer than 10 characters.
std::string number_text(double value);
/// "41.2 %", "0.03 %", "<0.01 %"
std::string percent_text(double fraction);

/// Case-insensitive for ASCII; an empty needle is contained in everything.
bool contains_ci(std::string_view text, std::string_view needle);

/// One line for a metadata value; arrays show their size and first items, long text is cut at
/// `limit` bytes at a character boundary and marked with "…".
std::string meta_text(const format::MetaValue& value, std::size_t limit = 96);

/// Cuts at a character boundary and appends "…" where `text` is longer than `limit` bytes.
std::string cut_text(std::string_view text, std::size_t limit);

/// How a token is written on its chip. A leading space is shown as a gap before the chip, so that
/// the stream reads like text; other white space gets visible signs.
struct ChipText {
  std::string text;
  bool gap_before = false;  ///< the token begins with a space
  bool ends_line = false;   ///< the token ends with a line feed
  bool control = false;     ///< a special token, shown by name
};
ChipText chip_text(const tokenizer::Tokenizer* tokenizer, std::int32_t id);
/// The same rules on given bytes.
ChipText chip_text_of(std::string_view bytes, bool control);

/// The exact bytes, escaped and quoted: `" forty"`, `"\n"`, `"<|im_end|>"`; "#17" without
/// tokenizer.
std::string quoted_token(const tokenizer::Tokenizer* tokenizer, std::int32_t id);
/// The exact text of a token, special tokens by name: what the script driver compares with.
std::string token_bytes(const tokenizer::Tokenizer* tokenizer, std::int32_t id);

}  // namespace layerscope::gui::view

// Unicode normalisation form C (UAX #15), for tokenizers whose models were trained on it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace layerscope::tokenizer {

struct Normalized {
  std::string text;
  std::vector<std::size_t> origin;  ///< [text.size()] where each byte comes from in the input
};

/// The text in form C, or nothing when it already is. Bytes that are not UTF-8 stay as they are.
std::optional<Normalized> to_nfc(std::string_view text);

}  // namespace layerscope::tokenizer

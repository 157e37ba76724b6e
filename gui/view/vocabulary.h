// Vocabulary search: tokens whose text contains a needle, or whose id it is. Pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace layerscope::gui::view {

/// At most `limit` usable tokens: the one whose id the needle is ("#17" or "17"), then exact
/// matches, then tokens that begin with it (a leading space aside), then tokens that contain it
/// (ASCII case aside), each by id.
std::vector<std::int32_t> search_vocabulary(const tokenizer::Tokenizer& tokenizer,
                                            std::string_view needle, int limit);

}  // namespace layerscope::gui::view

// Token search: where a text stands in the stream of tokens, also across their borders. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "engine/session/snapshot.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::gui::view {

/// Tokens [first, last] that hold one occurrence.
struct TokenMatch {
  int first = 0;
  int last = 0;
};

/// All occurrences of `needle` (ASCII case aside, not overlapping) in the tokens' own bytes; none
/// for an empty needle. Special tokens match by name.
std::vector<TokenMatch> find_in_tokens(const session::Snapshot& snapshot,
                                       const tokenizer::Tokenizer* tokenizer,
                                       std::string_view needle);

/// The tokens' text or their ids ("1, 2, 3"), positions [first, last].
std::string tokens_text(const session::Snapshot& snapshot, const tokenizer::Tokenizer* tokenizer,
                        int first, int last);
std::string tokens_ids(const session::Snapshot& snapshot, int first, int last);

/// Branches as an indented list: deepest relatives follow their parent.
struct BranchRow {
  const session::BranchInfo* info = nullptr;
  int depth = 0;
};
std::vector<BranchRow> branch_rows(const std::vector<session::BranchInfo>& branches);

}  // namespace layerscope::gui::view

#include "gui/view/token_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "gui/view/frames.h"
#include "gui/view/text.h"

namespace layerscope::gui::view {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

}  // namespace

std::vector<TokenMatch> find_in_tokens(const session::Snapshot& snapshot,
                                       const tokenizer::Tokenizer* tokenizer,
                                       std::string_view needle) {
  std::vector<TokenMatch> matches;
  if (needle.empty() || tokenizer == nullptr) {
    return matches;
  }
  std::string all;
  std::vector<std::size_t> begins;  // of each token in `all`
  const int n = token_count(snapshot);
  for (int i = 0; i < n; ++i) {
    begins.push_back(all.size());
    all += token_bytes(tokenizer, token_id(snapshot, i));
  }
  const std::string hay = lower(all);
  const std::string wanted = lower(needle);
  const auto token_at = [&begins](std::size_t byte) {
    const auto after = std::upper_bound(begins.begin(), begins.end(), byte);
    return static_cast<int>(after - begins.begin()) - 1;
  };
  for (std::size_t at = hay.find(wanted); at != std::string::npos;
       at = hay.find(wanted, at + wanted.size())) {
    matches.push_back({token_at(at), token_at(at + wanted.size() - 1)});
  }
  return matches;
}

std::string tokens_text(const session::Snapshot& snapshot, const tokenizer::Tokenizer* tokenizer,
                        int first, int last) {
  std::string text;
  for (int i = std::max(first, 0); i <= last && i < token_count(snapshot); ++i) {
    text += token_bytes(tokenizer, token_id(snapshot, i));
  }
  return text;
}

std::string tokens_ids(const session::Snapshot& snapshot, int first, int last) {
  std::vector<std::int32_t> ids;
  for (int i = std::max(first, 0); i <= last && i < token_count(snapshot); ++i) {
    ids.push_back(token_id(snapshot, i));
  }
  return fmt::format("{}", fmt::join(ids, ", "));
}

std::vector<BranchRow> branch_rows(const std::vector<session::BranchInfo>& branches) {
  std::vector<BranchRow> rows;
  // Parents are older than their children, so that one walk for each parent is enough.
  const auto add = [&](const auto& self, int parent, int depth) -> void {
    for (const session::BranchInfo& info : branches) {
      if (info.parent == parent && info.id != parent &&
          depth <= static_cast<int>(branches.size())) {
        rows.push_back({&info, depth});
        self(self, info.id, depth + 1);
      }
    }
  };
  add(add, -1, 0);
  return rows;
}

}  // namespace layerscope::gui::view

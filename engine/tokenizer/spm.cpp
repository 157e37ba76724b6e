// SentencePiece-style BPE ("llama"): blanks become U+2581, text is cut into characters, and the
// neighbouring pair that makes the piece of the best score is merged first (Kudo and Richardson
// 2018). Characters without a piece become byte tokens.
//
// A linked list and a heap, as for BPE: O(n log n). Immutable after construction.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <queue>
#include <utility>

#include "engine/base/utf8.h"
#include "engine/tokenizer/byte_table.h"
#include "engine/tokenizer/vocab_tokenizer.h"

namespace layerscope::tokenizer {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581

/// Text with blanks written as U+2581, and where each of its bytes comes from.
struct Escaped {
  std::string text;
  std::vector<std::size_t> origin;

  void add(std::string_view bytes, std::size_t from, bool one_origin) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      origin.push_back(one_origin ? from : from + i);
    }
    text.append(bytes);
  }
};

struct Symbol {
  std::size_t begin;
  std::size_t size;  ///< 0 once its left neighbour has taken it in.
  std::int32_t previous;
  std::int32_t next;  ///< -1 at the end.
};

struct Candidate {
  float score;
  std::int32_t left, right;  ///< Places in the list.
  std::size_t size;          ///< Of both together when queued: differs later, then it is stale.
};
struct Worse {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.score != b.score ? a.score < b.score : a.left > b.left;
  }
};

class SpmTokenizer final : public VocabTokenizer {
 public:
  SpmTokenizer(Vocab&& vocab, std::vector<float> scores, bool prefix_first_only,
               bool prefix_unless_space)
      : VocabTokenizer(std::move(vocab)),
        scores_(std::move(scores)),
        prefix_first_only_(prefix_first_only),
        prefix_unless_space_(prefix_unless_space) {}

  Status init() {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const auto id = static_cast<std::int32_t>(i);
      if (types_[i] == TokenType::kByte) {
        LS_CHECK(add_byte(id));
      } else if (is_text(id)) {
        longest_ = std::max(longest_, pieces_[i].size());
      }
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (byte_ids_[byte] < 0 && unk_ < 0) {
        return invalid_input(
            fmt::format("the vocabulary has no token <0x{:02X}> and no unknown token", byte));
      }
    }
    return {};
  }

 private:
  struct List {
    std::vector<Symbol> symbols;
    std::priority_queue<Candidate, std::vector<Candidate>, Worse> queue;
  };

  Status add_byte(std::int32_t id) {
    const int byte = parse_byte_token(piece(id));
    if (byte < 0) {
      return invalid_input(fmt::format("token {} ('{}') has type byte, but is not written <0xNN>",
                                       id, utf8_escape(piece(id).substr(0, 80))));
    }
    std::int32_t& entry = byte_ids_[static_cast<std::size_t>(byte)];
    entry = entry < 0 ? id : entry;
    return {};
  }

  /// Tokens that plain text may become; control tokens and padding it may not.
  [[nodiscard]] bool is_text(std::int32_t id) const {
    return type(id) == TokenType::kNormal || type(id) == TokenType::kUserDefined;
  }

  [[nodiscard]] std::int32_t find_text(std::string_view text) const {
    const std::int32_t id = text.size() > longest_ ? -1 : find(text);
    return id >= 0 && is_text(id) ? id : -1;
  }

  void encode_plain(std::string_view text, std::size_t offset, Encoding& out) const override {
    const Escaped escaped = escape(text, offset);
    List list;
    split(escaped.text, list);
    merge(escaped.text, list);
    for (std::int32_t i = 0; i >= 0; i = list.symbols[static_cast<std::size_t>(i)].next) {
      emit(escaped, list.symbols[static_cast<std::size_t>(i)], out);
    }
  }

  [[nodiscard]] Escaped escape(std::string_view text, std::size_t offset) const {
    Escaped escaped;
    const bool wanted = add_space_prefix_ && (offset == 0 || !prefix_first_only_);
    if (wanted && !(prefix_unless_space_ && (text.starts_with(' ') || text.starts_with(kSpace)))) {
      escaped.add(kSpace, offset, true);
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == ' ') {
        escaped.add(kSpace, offset + i, true);
      } else {
        escaped.add(text.substr(i, 1), offset + i, false);
      }
    }
    return escaped;
  }

  /// One symbol per character; an invalid byte counts as one.
  void split(std::string_view text, List& list) const {
    for (std::size_t pos = 0; pos < text.size();) {
      const std::size_t begin = pos;
      utf8_next(text, pos);
      const auto i = static_cast<std::int32_t>(list.symbols.size());
      list.symbols.push_back({begin, pos - begin, i - 1, pos < text.size() ? i + 1 : -1});
    }
    for (std::int32_t i = 0; i + 1 < static_cast<std::int32_t>(list.symbols.size()); ++i) {
      offer(text, list, i, i + 1);
    }
  }

  void offer(std::string_view text, List& list, std::int32_t left, std::int32_t right) const {
    if (left < 0 || right < 0) {
      return;
    }
    const Symbol& a = list.symbols[static_cast<std::size_t>(left)];
    const std::size_t size = a.size + list.symbols[static_cast<std::size_t>(right)].size;
    const std::int32_t id = find_text(text.substr(a.begin, size));
    // −∞: a piece that no merge makes (tokenizer.json).
    if (id >= 0 && scores_[static_cast<std::size_t>(id)] != -INFINITY) {
      list.queue.push({scores_[static_cast<std::size_t>(id)], left, right, size});
    }
  }

  void merge(std::string_view text, List& list) const {
    while (!list.queue.empty()) {
      const Candidate best = list.queue.top();
      list.queue.pop();
      Symbol& left = list.symbols[static_cast<std::size_t>(best.left)];
      Symbol& right = list.symbols[static_cast<std::size_t>(best.right)];
      if (left.size == 0 || right.size == 0 || left.size + right.size != best.size) {
        continue;
      }
      left.size = best.size;
      left.next = right.next;
      right.size = 0;
      if (left.next >= 0) {
        list.symbols[static_cast<std::size_t>(left.next)].previous = best.left;
      }
      offer(text, list, left.previous, best.left);
      offer(text, list, best.left, left.next);
    }
  }

  void emit(const Escaped& escaped, const Symbol& symbol, Encoding& out) const {
    const std::string_view text = std::string_view(escaped.text).substr(symbol.begin, symbol.size);
    const std::int32_t id = find_text(text);
    if (id >= 0) {
      push(out, id, escaped.origin[symbol.begin]);
      return;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::int32_t byte_id = byte_ids_[static_cast<unsigned char>(text[i])];
      push(out, byte_id >= 0 ? byte_id : unk_, escaped.origin[symbol.begin + i]);
    }
  }

  static std::array<std::int32_t, 256> no_bytes() {
    std::array<std::int32_t, 256> ids{};
    ids.fill(-1);
    return ids;
  }

  std::vector<float> scores_;
  bool prefix_first_only_, prefix_unless_space_;
  std::array<std::int32_t, 256> byte_ids_ = no_bytes();
  std::size_t longest_ = 0;  ///< Bytes of the longest piece.
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> build_spm(Vocab vocab) {
  std::vector<float> scores = std::move(vocab.scores);
  const bool first_only = vocab.prefix_first_only;
  const bool unless_space = vocab.prefix_unless_space;
  auto tokenizer =
      std::make_shared<SpmTokenizer>(std::move(vocab), std::move(scores), first_only, unless_space);
  LS_CHECK(tokenizer->init());
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace layerscope::tokenizer

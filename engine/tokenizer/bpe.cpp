// Byte-level byte-pair encoding ("gpt2"): text is cut into words by the model's pre-tokenizer, a
// word into bytes, and neighbouring tokens are merged in the order of the merge list (Sennrich et
// al. 2016; byte level: Radford et al. 2019).
//
// Merging keeps the word as a linked list and the possible merges in a heap: O(n log n), so that a
// word of 100 KB is no trap. Immutable after construction.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <queue>
#include <utility>

#include "engine/base/utf8.h"
#include "engine/tokenizer/byte_table.h"
#include "engine/tokenizer/nfc.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/vocab_tokenizer.h"

namespace layerscope::tokenizer {
namespace {

struct Merge {
  std::uint32_t rank;   ///< Place in the merge list; lower merges first.
  std::int32_t result;  ///< The merged token.
};

/// A token of the word being merged; `id` is kMerged once its left neighbour has taken it in.
struct Symbol {
  std::int32_t id;
  std::uint32_t begin;  ///< First byte in the word.
  std::int32_t previous;
  std::int32_t next;  ///< -1 at the end of the word.
};
constexpr std::int32_t kMerged = -2;

/// A merge that was possible when it was queued; it is stale when the ids have changed since.
struct Candidate {
  std::uint32_t rank;
  std::int32_t left, right;        ///< Places in the word.
  std::int32_t left_id, right_id;  ///< Tokens that stood there.
  std::int32_t result;
};
struct Later {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
};

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32U) |
         static_cast<std::uint32_t>(right);
}

class BpeTokenizer final : public VocabTokenizer {
 public:
  BpeTokenizer(Vocab&& vocab, PreTokenizer pre, bool whole_words, bool nfc)
      : VocabTokenizer(std::move(vocab)),
        pre_tokenizer_(std::move(pre)),
        whole_words_(whole_words),
        nfc_(nfc) {}

  Status init(const std::vector<std::string>& merges, const std::stop_token& stop) {
    constexpr std::size_t kPoll = 4096;  // about 2 ms of work
    LS_CHECK(find_bytes());
    merges_.reserve(merges.size());
    for (std::size_t i = 0; i < merges.size(); ++i) {
      if (i % kPoll == 0 && stop.stop_requested()) {
        return cancelled_error();
      }
      LS_CHECK(add_merge(merges[i], i));
    }
    return {};
  }

 private:
  struct Word {
    std::vector<Symbol> symbols;
    std::priority_queue<Candidate, std::vector<Candidate>, Later> queue;
  };

  Status find_bytes() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      std::string piece;
      utf8_append(piece, byte_to_code_point(static_cast<std::uint8_t>(byte)));
      byte_ids_[byte] = find(piece);
      if (byte_ids_[byte] < 0 && unk_ < 0) {
        return invalid_input(
            fmt::format("the vocabulary has no token for byte 0x{:02X} ('{}') and "
                        "no unknown token",
                        byte, piece));
      }
    }
    return {};
  }

  Status add_merge(std::string_view merge, std::size_t i) {
    const auto fail = [&](std::string_view what) {
      return invalid_input(
          fmt::format("merge {} ('{}') {}", i, utf8_escape(merge.substr(0, 80)), what));
    };
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return fail("is not two tokens with a blank between them");
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    const std::int32_t left_id = find(left);
    const std::int32_t right_id = find(right);
    const std::int32_t result = find(std::string(left).append(right));
    if (left_id < 0 || right_id < 0 || result < 0) {
      return fail("names or makes a token that the vocabulary does not have");
    }
    merges_.emplace(pair_key(left_id, right_id), Merge{static_cast<std::uint32_t>(i), result});
    return {};
  }

  void encode_plain(std::string_view text, std::size_t offset, Encoding& out) const override {
    const auto normalized = nfc_ ? to_nfc(text) : std::nullopt;
    if (!normalized) {
      return encode_words(text, offset, out);
    }
    Encoding words;
    encode_words(normalized->text, 0, words);
    for (std::size_t i = 0; i < words.ids.size(); ++i) {
      push(out, words.ids[i], offset + normalized->origin[words.offsets[i]]);
    }
  }

  void encode_words(std::string_view text, std::size_t offset, Encoding& out) const {
    std::vector<std::size_t> ends;
    pre_tokenizer_.split(text, ends);
    Word word;
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
      encode_word(text.substr(begin, end - begin), offset + begin, word, out);
      begin = end;
    }
  }

  void encode_word(std::string_view text, std::size_t offset, Word& word, Encoding& out) const {
    if (whole_words_) {
      const std::int32_t id = find(bytes_to_piece(text));
      if (id >= 0 && type(id) == TokenType::kNormal) {
        push(out, id, offset);
        return;
      }
    }
    merge_word(text, word);
    for (std::int32_t i = 0; i >= 0; i = word.symbols[static_cast<std::size_t>(i)].next) {
      const Symbol& symbol = word.symbols[static_cast<std::size_t>(i)];
      push(out, symbol.id >= 0 ? symbol.id : unk_, offset + symbol.begin);
    }
  }

  /// Queues the merge of the symbols at `left` and `right`, if there is one.
  void offer(Word& word, std::int32_t left, std::int32_t right) const {
    if (left < 0 || right < 0) {
      return;
    }
    const std::int32_t left_id = word.symbols[static_cast<std::size_t>(left)].id;
    const std::int32_t right_id = word.symbols[static_cast<std::size_t>(right)].id;
    if (left_id < 0 || right_id < 0) {
      return;  // a byte without a token
    }
    const auto it = merges_.find(pair_key(left_id, right_id));
    if (it != merges_.end()) {
      word.queue.push({it->second.rank, left, right, left_id, right_id, it->second.result});
    }
  }

  void merge_word(std::string_view text, Word& word) const {
    const auto n = static_cast<std::int32_t>(text.size());
    word.symbols.clear();
    for (std::int32_t i = 0; i < n; ++i) {
      const auto byte = static_cast<unsigned char>(text[static_cast<std::size_t>(i)]);
      word.symbols.push_back(
          {byte_ids_[byte], static_cast<std::uint32_t>(i), i - 1, i + 1 < n ? i + 1 : -1});
    }
    for (std::int32_t i = 0; i + 1 < n; ++i) {
      offer(word, i, i + 1);
    }
    while (!word.queue.empty()) {
      const Candidate best = word.queue.top();
      word.queue.pop();
      Symbol& left = word.symbols[static_cast<std::size_t>(best.left)];
      Symbol& right = word.symbols[static_cast<std::size_t>(best.right)];
      // Equal ids prove that both are alive; only the right one of a pair is ever taken in, so an
      // unchanged right neighbour is still the neighbour.
      if (left.id != best.left_id || right.id != best.right_id || left.next != best.right) {
        continue;
      }
      left.id = best.result;
      left.next = right.next;
      right.id = kMerged;
      if (left.next >= 0) {
        word.symbols[static_cast<std::size_t>(left.next)].previous = best.left;
      }
      offer(word, left.previous, best.left);
      offer(word, best.left, left.next);
    }
  }

  PreTokenizer pre_tokenizer_;
  bool whole_words_;  ///< A word that is a token needs no merges to become it.
  bool nfc_;
  std::array<std::int32_t, 256> byte_ids_{};
  std::unordered_map<std::uint64_t, Merge> merges_;  ///< By pair_key; of two equal pairs the first.
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> build_bpe(Vocab vocab) {
  LS_TRY(PreTokenizer pre, vocab.expressions.empty()
                               ? PreTokenizer::create(vocab.pre)
                               : PreTokenizer::from_expressions(vocab.expressions));
  const bool nfc = vocab.nfc;
  const bool whole_words = vocab.ignore_merges || pre_tokenizer_ignores_merges(vocab.pre);
  const std::vector<std::string> merges = std::move(vocab.merges);
  const std::stop_token stop = vocab.stop;
  auto tokenizer =
      std::make_shared<BpeTokenizer>(std::move(vocab), std::move(pre), whole_words, nfc);
  LS_CHECK(tokenizer->init(merges, stop));
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace layerscope::tokenizer

// Encoding and decoding with small vocabularies made here.
#include "engine/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <thread>

#include "engine/base/utf8.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "tests/engine/tokenizer/small_vocab.h"

namespace layerscope::tokenizer {
namespace {

using testing::small_bpe;
using testing::small_spm;

using TokenizerPtr = std::shared_ptr<const Tokenizer>;

TokenizerPtr build(Vocab vocab) {
  auto tokenizer = build_tokenizer(std::move(vocab));
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return std::move(tokenizer).value();
}

std::vector<std::string> pieces(const Tokenizer& tokenizer, const Encoding& encoding) {
  std::vector<std::string> out;
  for (const std::int32_t id : encoding.ids) {
    out.emplace_back(tokenizer.piece(id));
  }
  return out;
}

using Pieces = std::vector<std::string>;

std::vector<std::string> words(const std::string& pre, std::string_view text) {
  const auto splitter = PreTokenizer::create(pre);
  EXPECT_TRUE(splitter.ok());
  std::vector<std::size_t> ends;
  splitter.value().split(text, ends);
  std::vector<std::string> out;
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    out.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, text.size());
  return out;
}

TEST(PreTokenizer, ThreeFamilies_CutDifferently) {
  EXPECT_EQ(words("gpt-2", "I'll pay 12345\n\n  x"),
            (Pieces{"I", "'ll", " pay", " 12345", "\n\n ", " x"}));
  EXPECT_EQ(words("qwen2", "I'LL pay 123\n\n  x"),
            (Pieces{"I", "'LL", " pay", " ", "1", "2", "3", "\n\n", " ", " x"}));
  EXPECT_EQ(words("llama-bpe", "pay 12345 (a)!\n"),
            (Pieces{"pay", " ", "123", "45", " (", "a", ")!\n"}));
  EXPECT_EQ(words("gpt-2", "don'T"), (Pieces{"don", "'", "T"}));
}

TEST(PreTokenizer, UnicodeClasses_AreThoseOfUnicode) {
  EXPECT_EQ(words("gpt-2", "Größe日本 ١٢٣"), (Pieces{"Größe日本", " ١٢٣"}));
  EXPECT_EQ(words("gpt-2", "a\u00A0\u3000b"), (Pieces{"a", "\u00A0", "\u3000", "b"}));
  // U+180E is no white space since Unicode 6.3.
  EXPECT_EQ(words("gpt-2", "a \u180E"), (Pieces{"a", " \u180E"}));
  EXPECT_EQ(words("gpt-2", "a \u0085 b"), (Pieces{"a", " \u0085", " b"}));
}

TEST(PreTokenizer, InvalidBytes_AreWordsOfTheirOwn) {
  EXPECT_EQ(words("qwen2",
                  "ab\xFF\xFE"
                  "cd\xC3"),
            (Pieces{"ab", "\xFF", "\xFE", "cd", "\xC3"}));
  EXPECT_EQ(words("qwen2", "\xED\xA0\x80"), (Pieces{"\xED", "\xA0", "\x80"}));
  EXPECT_TRUE(words("qwen2", "").empty());
}

TEST(Bpe, Merges_FollowTheirOrder) {
  const auto tokenizer = build(small_bpe("gpt-2"));
  EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("hello world")),
            (Pieces{"hello", "Ġwor", "l", "d"}));
  EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("aaaaaaa")), (Pieces{"aaaa", "aa", "a"}));
  EXPECT_EQ(tokenizer->encode("hello world").offsets, (std::vector<std::size_t>{0, 5, 9, 10}));
  EXPECT_TRUE(tokenizer->encode("").ids.empty());
}

TEST(Bpe, WholeWordToken_WinsOnlyWhereMergesAreIgnored) {
  for (const std::string pre : {"gpt-2", "llama-bpe"}) {
    Vocab vocab = small_bpe(pre);
    testing::add_token(vocab, "world", TokenType::kNormal);  // no merges lead to it
    const auto tokenizer = build(std::move(vocab));
    const Pieces expected = pre == "gpt-2" ? Pieces{"w", "or", "l", "d"} : Pieces{"world"};
    EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("world")), expected);
  }
}

TEST(Bpe, WholeWordControlToken_IsNeverMadeFromPlainText) {
  Vocab vocab = small_bpe("llama-bpe");
  testing::add_token(vocab, "evil", TokenType::kControl);
  const auto tokenizer = build(std::move(vocab));
  EXPECT_EQ(tokenizer->encode("evil", {.parse_special = false}).ids.size(), 4U);
  EXPECT_EQ(tokenizer->encode("evil").ids.size(), 1U);
}

/// Merging as its definition says, without queue or list: the oracle.
std::vector<std::string> merge_naively(std::vector<std::string> parts,
                                       const std::vector<std::string>& merges) {
  for (;;) {
    std::size_t best = merges.size();
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto it = std::find(merges.begin(), merges.end(), parts[i] + " " + parts[i + 1]);
      const auto rank = static_cast<std::size_t>(it - merges.begin());
      if (rank < best) {
        best = rank;
        place = i;
      }
    }
    if (best == merges.size()) {
      return parts;
    }
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

TEST(Bpe, RandomMergeLists_EqualTheNaiveAlgorithm) {
  constexpr unsigned kSeed = 7;
  std::printf("seed %u\n", kSeed);
  std::mt19937 random(kSeed);
  for (int round = 0; round < 300; ++round) {
    Vocab vocab = small_bpe("gpt-2");
    vocab.merges.clear();
    std::vector<std::string> known = {"a", "b", "c"};
    for (int i = 0; i < 12; ++i) {
      const std::string left = known[random() % known.size()];
      const std::string right = known[random() % known.size()];
      vocab.merges.push_back(left + " " + right);
      testing::add_token(vocab, left + right, TokenType::kNormal);
      known.push_back(left + right);
    }
    const auto merges = vocab.merges;
    const auto tokenizer = build(std::move(vocab));
    std::string text;
    std::vector<std::string> letters;
    for (std::size_t i = 0; i < 1 + random() % 60; ++i) {
      letters.emplace_back(1, static_cast<char>('a' + random() % 3));
      text += letters.back();
    }
    ASSERT_EQ(pieces(*tokenizer, tokenizer->encode(text)), merge_naively(letters, merges)) << text;
  }
}

TEST(Bpe, RandomBytes_RoundTripExactly) {
  constexpr unsigned kSeed = 11;
  std::printf("seed %u\n", kSeed);
  std::mt19937 random(kSeed);
  for (const std::string pre : {"gpt-2", "qwen2", "llama-bpe"}) {
    const auto tokenizer = build(small_bpe(pre));
    for (int round = 0; round < 2000; ++round) {
      std::string text;
      for (std::size_t i = 0; i < random() % 40; ++i) {
        text += static_cast<char>(random() % 3 == 0 ? random() & 0xFFU : ' ' + random() % 90);
      }
      const Encoding encoding = tokenizer->encode(text, {false, false});
      ASSERT_EQ(tokenizer->decode(encoding.ids), text) << utf8_escape(text);
      ASSERT_EQ(encoding.offsets.size(), encoding.ids.size());
      std::size_t offset = 0;
      for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
        ASSERT_EQ(encoding.offsets[i], offset);
        offset += tokenizer->decode(encoding.ids[i]).size();
      }
    }
  }
}

TEST(Bpe, ManyScripts_RoundTrip) {
  const std::string text =
      "English, Größe, Ελληνικά, Русский, עברית, العربية, हिन्दी, ไทย, 日本語, 한국어, "
      "🙂👍🏽‍, \u202Ertl, \r\n\t end  ";
  for (const std::string pre : {"gpt-2", "qwen2", "llama-bpe"}) {
    const auto tokenizer = build(small_bpe(pre));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text).ids), text);
  }
}

TEST(Bpe, OneWordOf100KB_Finishes) {
  const auto tokenizer = build(small_bpe("qwen2"));
  for (const char letter : {'a', 'x', ' ', '\n', '!'}) {
    const std::string text(100 * 1024, letter);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text).ids), text);
  }
  std::string accents;
  while (accents.size() < 100 * 1024) {
    accents += "é";
  }
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(accents).ids), accents);
}

TEST(Special, Names_AreTokensOnlyWhenParsed) {
  const auto tokenizer = build(small_bpe("gpt-2"));
  EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("a<|im_end|>b")),
            (Pieces{"a", "<|im_end|>", "b"}));
  EXPECT_EQ(tokenizer->encode("a<|im_end|>b").offsets, (std::vector<std::size_t>{0, 1, 11}));
  EXPECT_EQ(tokenizer->encode("<|im_end|>", {.parse_special = false}).ids.size(), 10U);
  // User-defined tokens are always recognised, padding never.
  EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("<user>", {.parse_special = false})),
            (Pieces{"<user>"}));
  EXPECT_EQ(tokenizer->encode("[PAD1]").ids.size(), 6U);
}

TEST(Special, LongerName_WinsOverShorter) {
  const auto tokenizer = build(small_bpe("gpt-2"));
  EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("<|im_end|>!<|im_end|>?")),
            (Pieces{"<|im_end|>!", "<|im_end|>", "?"}));
  Vocab vocab = small_bpe("gpt-2");
  testing::add_token(vocab, "XY", TokenType::kControl);
  testing::add_token(vocab, "YZZ", TokenType::kControl);
  const auto overlapping = build(std::move(vocab));
  EXPECT_EQ(pieces(*overlapping, overlapping->encode("XYZZ")), (Pieces{"X", "YZZ"}));
}

TEST(Special, BosAndEos_AreAddedWhereAsked) {
  Vocab vocab = small_bpe("gpt-2");
  vocab.add_bos = vocab.add_eos = true;
  const auto tokenizer = build(std::move(vocab));
  const Encoding encoding = tokenizer->encode("ab");
  EXPECT_EQ(pieces(*tokenizer, encoding), (Pieces{"<|start|>", "a", "b", "<|im_end|>"}));
  EXPECT_EQ(encoding.offsets, (std::vector<std::size_t>{0, 0, 1, 2}));
  EXPECT_EQ(tokenizer->encode("ab", {.add_special = false}).ids.size(), 2U);
  EXPECT_TRUE(tokenizer->adds_bos());
}

TEST(Spm, Scores_DecideAndBytesFallBack) {
  const auto tokenizer = build(small_spm());
  EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("hello hello")),
            (Pieces{"<s>", "▁hello", "▁hello"}));
  EXPECT_EQ(tokenizer->encode("hello hello").offsets, (std::vector<std::size_t>{0, 0, 5}));
  const Encoding encoding = tokenizer->encode("é日");
  EXPECT_EQ(pieces(*tokenizer, encoding), (Pieces{"<s>", "▁", "é", "<0xE6>", "<0x97>", "<0xA5>"}));
  EXPECT_EQ(encoding.offsets, (std::vector<std::size_t>{0, 0, 0, 2, 3, 4}));
  EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("\xFF")), (Pieces{"<s>", "▁", "<0xFF>"}));
}

TEST(Spm, EachStretch_GetsTheSpacePrefix) {
  const auto tokenizer = build(small_spm());
  EXPECT_EQ(pieces(*tokenizer, tokenizer->encode("hello</s>hello", {true, false})),
            (Pieces{"▁hello", "</s>", "▁hello"}));
  EXPECT_TRUE(tokenizer->encode("", {true, false}).ids.empty());
  Vocab vocab = small_spm();
  vocab.add_space_prefix = false;
  const auto bare = build(std::move(vocab));
  EXPECT_EQ(pieces(*bare, bare->encode("h", {true, false})), (Pieces{"h"}));
}

TEST(Spm, ControlToken_IsNeverMergedFromPlainText) {
  const auto tokenizer = build(small_spm());  // has "<s" and ">": together they would be BOS
  const auto out = pieces(*tokenizer, tokenizer->encode("<s>", {false, false}));
  EXPECT_EQ(out, (Pieces{"▁", "<s", ">"}));
}

TEST(Spm, Decode_RemovesOnlyTheFirstPrefix) {
  const auto tokenizer = build(small_spm());
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("hello hello é日").ids), "hello hello é日");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" hello").ids), " hello");
  const std::int32_t hello = tokenizer->find("▁hello");
  EXPECT_EQ(tokenizer->decode(hello), " hello");
  EXPECT_EQ(tokenizer->decode(tokenizer->bos()), "");
  EXPECT_EQ(tokenizer->decode(tokenizer->bos(), true), "<s>");
}

TEST(Spm, OneStretchOf100KB_Finishes) {
  const auto tokenizer = build(small_spm());
  const std::string text(100 * 1024, 'l');
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text).ids), text);
}

TEST(Tokenizer, Accessors_AreSafeOutOfRange) {
  const auto tokenizer = build(small_bpe("gpt-2"));
  for (const std::int32_t id : {-1, -2147483647, tokenizer->n_tokens(), 2147483647}) {
    EXPECT_EQ(tokenizer->decode(id), "");
    EXPECT_EQ(tokenizer->piece(id), "");
    EXPECT_EQ(tokenizer->display(id), "");
    EXPECT_FALSE(tokenizer->is_usable(id));
    EXPECT_FALSE(tokenizer->is_end(id));
  }
  EXPECT_EQ(tokenizer->find("absent"), -1);
}

TEST(Tokenizer, EndsAndUse_FollowNamesIdsAndTypes) {
  Vocab vocab = small_bpe("gpt-2");
  const std::int32_t html = testing::add_token(vocab, "</s>", TokenType::kNormal);
  const std::int32_t text_end = testing::add_token(vocab, "<|endoftext|>", TokenType::kControl);
  vocab.end_ids = {5};
  const auto tokenizer = build(std::move(vocab));
  EXPECT_TRUE(tokenizer->is_end(tokenizer->eos()));
  EXPECT_TRUE(tokenizer->is_end(text_end));
  EXPECT_TRUE(tokenizer->is_end(5));
  EXPECT_FALSE(tokenizer->is_end(html));
  EXPECT_FALSE(tokenizer->is_end(tokenizer->bos()));
  EXPECT_FALSE(tokenizer->is_usable(tokenizer->find("[PAD1]")));
  EXPECT_TRUE(tokenizer->is_usable(0));
}

TEST(Tokenizer, ManyThreads_GetTheSameIds) {
  for (const Vocab& vocab : {small_bpe("qwen2"), small_spm()}) {
    const auto tokenizer = build(vocab);
    const std::string text = "hello world <|im_end|> 1212 \xFF é aaaa\n";
    const auto expected = tokenizer->encode(text).ids;
    std::vector<int> wrong(4);
    std::vector<std::thread> threads;
    for (int& count : wrong) {
      threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i) {
          count += tokenizer->encode(text).ids == expected ? 0 : 1;
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(wrong, std::vector<int>(4));
  }
}

TEST(Tokenizer, Display_IsOneLineOfValidText) {
  const auto tokenizer = build(small_bpe("gpt-2"));
  EXPECT_EQ(tokenizer->display('\n'), "\\n");
  EXPECT_EQ(tokenizer->display(0xFF), "\\xff");
  EXPECT_EQ(tokenizer->display(tokenizer->find("Ġwor")), " wor");
  EXPECT_EQ(tokenizer->display(tokenizer->eos()), "<|im_end|>");
  for (std::int32_t id = 0; id < tokenizer->n_tokens(); ++id) {
    EXPECT_TRUE(utf8_valid(tokenizer->display(id)));
    EXPECT_FALSE(tokenizer->display(id).empty());
  }
}

TEST(StreamDecoder, EverySplit_GivesTheSameValidText) {
  const auto tokenizer = build(small_bpe("gpt-2"));
  for (const std::string text : {"aé日🙂b", "\xFF\xE2\x82", "a\xE2\x28z", "é", ""}) {
    const auto ids = tokenizer->encode(text, {false, false}).ids;
    StreamDecoder decoder(tokenizer);
    std::string out;
    for (const std::int32_t id : ids) {
      const std::string part = decoder.push(id);
      EXPECT_TRUE(utf8_valid(part));
      out += part;
    }
    out += decoder.finish();
    EXPECT_EQ(out, utf8_sanitize(text));
    EXPECT_EQ(decoder.finish(), "");
  }
}

TEST(StreamDecoder, IncompleteCharacter_IsHeldBack) {
  const auto tokenizer = build(small_bpe("gpt-2"));
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(0xF0), "");
  EXPECT_EQ(decoder.push(0x9F), "");
  EXPECT_EQ(decoder.push(0x99), "");
  EXPECT_EQ(decoder.push(0x82), "🙂");
  EXPECT_EQ(decoder.push(0xC3), "");
  EXPECT_EQ(decoder.push('x'), "\uFFFDx");
  EXPECT_EQ(decoder.push(tokenizer->eos()), "");
  StreamDecoder with_names(tokenizer, true);
  EXPECT_EQ(with_names.push(tokenizer->eos()), "<|im_end|>");
}

}  // namespace
}  // namespace layerscope::tokenizer

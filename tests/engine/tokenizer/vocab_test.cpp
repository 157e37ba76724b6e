// Vocabularies that contradict themselves are refused with a sentence.
#include "engine/tokenizer/vocab.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "engine/tokenizer/hf_files.h"
#include "tests/engine/format/temp_file.h"
#include "tests/engine/tokenizer/small_vocab.h"

namespace layerscope::tokenizer {
namespace {

using format::MetaValue;
using format::ModelFile;
using testing::small_bpe;
using testing::small_spm;
using testing::TempFile;

/// The metadata that a file with this vocabulary would have.
std::shared_ptr<ModelFile> file_of(const Vocab& vocab) {
  auto file = std::make_shared<ModelFile>();
  file->path = "test.gguf";
  const auto add = [&](const char* key, MetaValue value) {
    file->metadata.push_back({key, "", std::move(value)});
  };
  std::vector<std::int64_t> types;
  for (const TokenType type : vocab.types) {
    types.push_back(static_cast<std::int64_t>(type));
  }
  add("tokenizer.ggml.model", vocab.model);
  add("tokenizer.ggml.pre", vocab.pre);
  add("tokenizer.ggml.tokens", vocab.pieces);
  add("tokenizer.ggml.token_type", types);
  if (vocab.model == "llama") {
    add("tokenizer.ggml.scores", std::vector<double>(vocab.scores.begin(), vocab.scores.end()));
  } else {
    add("tokenizer.ggml.merges", vocab.merges);
  }
  add("tokenizer.ggml.bos_token_id", static_cast<std::uint64_t>(vocab.bos));
  add("tokenizer.ggml.eos_token_id", static_cast<std::uint64_t>(vocab.eos));
  file->index();
  return file;
}

void set(ModelFile& file, const std::string& key, std::optional<MetaValue> value) {
  std::erase_if(file.metadata, [&](const auto& entry) { return entry.key == key; });
  if (value) {
    file.metadata.push_back({key, "", *value});
  }
  file.index();
}

struct BadKey {
  const char* model;
  const char* key;
  std::optional<MetaValue> value;
  const char* fragment;
};

TEST(VocabFromModel, GoodMetadata_BuildsTokenizers) {
  for (const Vocab& vocab : {small_bpe("qwen2"), small_spm()}) {
    const auto tokenizer = Tokenizer::from_model(*file_of(vocab));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ(tokenizer.value()->adds_bos(), vocab.model == "llama");  // the default of each
    EXPECT_EQ(tokenizer.value()->n_tokens(), static_cast<std::int32_t>(vocab.pieces.size()));
    EXPECT_EQ(tokenizer.value()->bos(), vocab.bos);
  }
  EXPECT_TRUE(Tokenizer::from_model(*file_of(small_bpe("llama-bpe"))).value()->adds_bos());
}

TEST(VocabFromModel, BadMetadata_IsRefusedNamingTheKey) {
  const std::string t = "tokenizer.ggml.";
  const std::vector<BadKey> cases = {
      {"gpt2", "model", {}, "'tokenizer.ggml.model' is missing"},
      {"gpt2", "model", MetaValue(true), "'tokenizer.ggml.model' must be a string"},
      {"gpt2", "model", MetaValue(std::string("bert")), "tokenizer model 'bert' is not supported"},
      {"gpt2", "pre", MetaValue(std::string("exotic")), "pre-tokenizer 'exotic' is not supported"},
      {"gpt2", "tokens", {}, "'tokenizer.ggml.tokens' is missing"},
      {"gpt2", "tokens", MetaValue(std::vector<std::int64_t>{1}), "'tokenizer.ggml.tokens'"},
      {"gpt2", "tokens", MetaValue(std::vector<std::string>{}), "'tokenizer.ggml.tokens'"},
      {"gpt2", "token_type", MetaValue(std::vector<std::int64_t>{1, 1}), "has 2 entries"},
      {"gpt2", "merges", {}, "'tokenizer.ggml.merges' is missing"},
      {"gpt2", "merges", MetaValue(std::vector<std::string>{"a zzz"}), "merge 0 ('a zzz')"},
      {"gpt2", "merges", MetaValue(std::vector<std::string>{"ab"}), "is not two tokens"},
      {"gpt2", "merges", MetaValue(std::vector<std::string>{""}), "is not two tokens"},
      {"gpt2", "merges", MetaValue(std::vector<std::string>{"a "}), "is not two tokens"},
      {"gpt2", "bos_token_id", MetaValue(std::uint64_t{9999}),
       "'tokenizer.ggml.bos_token_id' is 9999"},
      {"gpt2", "eos_token_id", MetaValue(std::int64_t{-1}), "'tokenizer.ggml.eos_token_id' is -1"},
      {"gpt2", "eot_token_id", MetaValue(std::uint64_t{~0ULL}), "out of range"},
      {"gpt2", "add_bos_token", MetaValue(std::uint64_t{1}), "must be a bool"},
      {"llama", "token_type", {}, "'tokenizer.ggml.token_type' is missing"},
      {"llama", "scores", {}, "'tokenizer.ggml.scores' is missing"},
      {"llama", "scores", MetaValue(std::vector<double>{0.0}), "has 1 entries"},
      {"llama", "unknown_token_id", MetaValue(std::int64_t{400}), "only 276 tokens"},
  };
  for (const BadKey& bad : cases) {
    const auto file = file_of(bad.model == std::string("llama") ? small_spm() : small_bpe("gpt-2"));
    set(*file, t + bad.key, bad.value);
    const auto tokenizer = Tokenizer::from_model(*file);
    ASSERT_FALSE(tokenizer.ok()) << bad.fragment;
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kInvalidInput);
    EXPECT_EQ(tokenizer.error().message.substr(0, 13), "'test.gguf': ");
    EXPECT_NE(tokenizer.error().message.find(bad.fragment), std::string::npos)
        << tokenizer.error().message;
  }
}

TEST(VocabFromModel, TypeOutOfRangeOrNaNScore_IsRefused) {
  Vocab vocab = small_spm();
  vocab.scores[9] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(Tokenizer::from_model(*file_of(vocab)).error().message.find("entry 9 is not a number"),
            std::string::npos);
  vocab = small_spm();
  vocab.types[3] = static_cast<TokenType>(7);
  EXPECT_NE(Tokenizer::from_model(*file_of(vocab)).error().message.find("entry 3 is 7"),
            std::string::npos);
}

TEST(VocabFromModel, AddBosWithoutBos_IsContradictory) {
  const auto file = file_of(small_bpe("gpt-2"));
  set(*file, "tokenizer.ggml.bos_token_id", {});
  EXPECT_TRUE(Tokenizer::from_model(*file).ok());
  set(*file, "tokenizer.ggml.add_bos_token", MetaValue(true));
  EXPECT_NE(Tokenizer::from_model(*file).error().message.find("is missing"), std::string::npos);
}

TEST(BuildTokenizer, ByteThatNothingStandsFor_IsRefused) {
  Vocab vocab = small_bpe("gpt-2");
  vocab.pieces['~'] = "elsewhere";
  EXPECT_NE(build_tokenizer(vocab).error().message.find("byte 0x7E"), std::string::npos);
  vocab.unk = 300 < vocab.pieces.size() ? 300 : 0;
  const auto lenient = build_tokenizer(vocab);
  ASSERT_TRUE(lenient.ok());
  EXPECT_EQ(lenient.value()->encode("~").ids, std::vector<std::int32_t>{vocab.unk});
}

TEST(BuildTokenizer, ByteTokenWithoutByte_IsRefused) {
  Vocab vocab = small_spm();
  vocab.pieces[10] = "<0xZZ>";
  EXPECT_NE(build_tokenizer(vocab).error().message.find("token 10 ('<0xZZ>')"), std::string::npos);
}

TEST(BuildTokenizer, OddPieces_AreHarmless) {
  Vocab vocab = small_bpe("gpt-2");
  for (const char* piece : {"", "\xFF\xFE", "日本", "h", "a\nb"}) {
    testing::add_token(vocab, piece, TokenType::kNormal);
  }
  testing::add_token(vocab, "", TokenType::kControl);
  testing::add_token(vocab, std::string(5000, 'n'), TokenType::kControl);
  const auto tokenizer = build_tokenizer(std::move(vocab));
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ(tokenizer.value()->encode("h").ids, std::vector<std::int32_t>{'h'});  // the first one
  for (std::int32_t id = 0; id < tokenizer.value()->n_tokens(); ++id) {
    EXPECT_EQ(tokenizer.value()->display(id).find('\n'), std::string::npos);
  }
}

TEST(HfFiles, DamagedFiles_AreRefusedByName) {
  const TempFile config(R"({"tokenizer_class":"Qwen2Tokenizer"})", "tokenizer_config.json");
  const auto write = [&](const char* name, std::string_view content) {
    std::ofstream(config.folder() + "/" + name, std::ios::binary) << content;
  };
  const auto message = [&] { return from_hf_files(config.folder()).error().message; };
  EXPECT_NE(message().find("vocab.json"), std::string::npos);
  write("vocab.json", "[1, 2");
  EXPECT_NE(message().find("does not hold a JSON object"), std::string::npos);
  write("vocab.json", R"({"a": -1})");
  EXPECT_NE(message().find("'a' has no usable id"), std::string::npos);
  write("vocab.json", R"({"a": 0, "b": 0})");
  EXPECT_NE(message().find("both have id 0"), std::string::npos);
  write("vocab.json", R"({"a": 0, "b": 900000})");
  EXPECT_NE(message().find("too many holes"), std::string::npos);
  write("vocab.json", R"({"a": 0})");
  EXPECT_NE(message().find("merges.txt"), std::string::npos);
  write("merges.txt", "#version: 0.2\n");
  EXPECT_NE(message().find("no token for byte"), std::string::npos);
  write("tokenizer_config.json", R"({"tokenizer_class":"OtherTokenizer"})");
  EXPECT_NE(message().find("'OtherTokenizer'"), std::string::npos);
}

}  // namespace
}  // namespace layerscope::tokenizer

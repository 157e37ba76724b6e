// Token for token against stored results of the reference implementation: the golden models, and
// real vocabularies where they are present (they belong to others and are not in the repository).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/tokenizer/hf_files.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::tokenizer {
namespace {

using TokenizerResult = Result<std::shared_ptr<const Tokenizer>>;

std::string folder_from(const char* variable, const char* otherwise) {
  const char* folder = std::getenv(variable);
  return folder == nullptr ? otherwise : folder;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

TokenizerResult load(const std::string& path) {
  LS_TRY(const auto file, format::read_model_file(path));
  return Tokenizer::from_model(*file);
}

class GoldenTokenizer : public ::testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] std::string folder() const {
    return folder_from("LS_SOURCE_DIR", ".") + "/tests/golden/models/" + GetParam() + "/";
  }
};

TEST_P(GoldenTokenizer, StoredCases_AgreeTokenForToken) {
  const auto tokenizer = load(folder() + "model.gguf");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto cases = nlohmann::json::parse(read(folder() + "tokenizer.json"));
  ASSERT_GE(cases.size(), 19U);
  for (const auto& each : cases) {
    const auto text = each["text"].get<std::string>();
    const auto special = each["ids_special"].get<std::vector<std::int32_t>>();
    const auto plain = each["ids_plain"].get<std::vector<std::int32_t>>();
    EXPECT_EQ(tokenizer.value()->encode(text, {true, false}).ids, special) << text;
    EXPECT_EQ(tokenizer.value()->encode(text, {false, false}).ids, plain) << text;
    EXPECT_EQ(tokenizer.value()->decode(plain), text);
  }
}

TEST_P(GoldenTokenizer, StoredPrompts_AgreeWithBos) {
  const auto tokenizer = load(folder() + "model.gguf");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  int checked = 0;
  for (const std::string length : {"short", "long"}) {
    if (!std::filesystem::exists(folder() + "tokens-" + length + ".json")) {
      continue;  // llama3 is stored without prompts
    }
    const auto stored = nlohmann::json::parse(read(folder() + "tokens-" + length + ".json"));
    EXPECT_EQ(tokenizer.value()->encode(read(folder() + "prompt-" + length + ".txt")).ids,
              stored["ids"].get<std::vector<std::int32_t>>());
    ++checked;
  }
  EXPECT_TRUE(checked == 2 || GetParam() == std::string("llama3"));
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTokenizer, ::testing::Values("qwen2", "llama", "llama3"));

TEST(GoldenEnds, Qwen2_EndsByIdAndByName) {
  const auto tokenizer =
      load(folder_from("LS_SOURCE_DIR", ".") + "/tests/golden/models/qwen2/model.gguf");
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_TRUE(tokenizer.value()->is_end(tokenizer.value()->find("<|im_end|>")));
  EXPECT_TRUE(tokenizer.value()->is_end(tokenizer.value()->find("<|endoftext|>")));
  EXPECT_FALSE(tokenizer.value()->is_end(tokenizer.value()->find("<|im_start|>")));
  EXPECT_FALSE(tokenizer.value()->is_usable(367));
  EXPECT_FALSE(tokenizer.value()->adds_bos());
}

class SharedVocab : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedVocab, ReferenceTexts_AgreeTokenForToken) {
  const std::string base = folder_from("LS_SHARED_DIR", "../shared") + "/vocab/" + GetParam();
  if (!std::filesystem::exists(base + ".inp")) {
    GTEST_SKIP() << "no " << GetParam() << " vocabulary here; set LS_SHARED_DIR";
  }
  const auto tokenizer = std::filesystem::exists(base + ".gguf")
                             ? load(base + ".gguf")
                             : from_hf_files(std::filesystem::path(base).parent_path().string());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string texts = read(base + ".inp");
  std::istringstream lines(read(base + ".out"));
  std::size_t begin = 0;
  int n = 0;
  for (std::string line; std::getline(lines, line); ++n) {
    const std::size_t end = texts.find(separator, begin);
    ASSERT_NE(end, std::string::npos);
    const std::string text = texts.substr(begin, end - begin);
    begin = end + separator.size();
    std::istringstream numbers(line);
    const std::vector<std::int32_t> expected{std::istream_iterator<std::int32_t>(numbers), {}};
    const Encoding encoding = tokenizer.value()->encode(text, {false, false});
    EXPECT_EQ(encoding.ids, expected) << text;
    EXPECT_EQ(tokenizer.value()->decode(encoding.ids), text);
  }
  EXPECT_EQ(n, 46);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, SharedVocab,
                         ::testing::Values("gpt-2", "llama-spm", "qwen2/qwen2"));

}  // namespace
}  // namespace layerscope::tokenizer

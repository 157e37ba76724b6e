// Tokens, logits and greedy continuations of the golden models.
//
// Those of the repository and those of LS_SHARED_DIR, which are skipped where they are absent.
//
// Tolerance 1e-4 (absolute, logits have a standard deviation of about 2.5): ten times what ordinary
// float32 evaluation shows, far below what any mistake causes (tests/golden/README.md); 1e-2 where
// the reference evaluates GELU through float16.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/architectures.h"

namespace layerscope::testing {
namespace {

constexpr double kTolerance = 1e-4;
constexpr double kGeluTolerance = 1e-2;
constexpr int kContext = 256;

struct Case {
  const char* model;
  const char* suffix;  ///< "-dequantised" for quantised models, whose weights we expand exactly
  double tolerance = kTolerance;
};

class Golden : public ::testing::TestWithParam<std::tuple<Case, const char*>> {
 protected:
  void SetUp() override {
    const std::string path = any_golden(model(), "model.gguf");
    if (!std::filesystem::exists(path)) {
      GTEST_SKIP() << "no golden " << model() << " here; set LS_SHARED_DIR";
    }
    if (const std::string type = undecodable_type(path); !type.empty()) {
      GTEST_SKIP() << "type " << type << " cannot be computed with yet";
    }
  }

  [[nodiscard]] std::string model() const { return std::get<0>(GetParam()).model; }
  [[nodiscard]] std::string suffix() const { return std::get<0>(GetParam()).suffix; }
  [[nodiscard]] std::string prompt() const { return std::get<1>(GetParam()); }
  [[nodiscard]] std::vector<std::int32_t> ids() const {
    return read_json(any_golden(model(), "tokens-" + prompt() + ".json"))
        .at("ids")
        .get<std::vector<std::int32_t>>();
  }
  [[nodiscard]] std::vector<float> reference_logits() const {
    return read_floats(any_golden(model(), "logits-" + prompt() + suffix() + ".f32"));
  }
};

TEST_P(Golden, Prompt_Tokenised_EqualsReference) {
  const auto loaded = load(any_golden(model(), "model.gguf"));
  const std::string text = read_text(any_golden(model(), "prompt-" + prompt() + ".txt"));
  EXPECT_EQ(loaded->tokenizer->encode(text).ids, ids());
}

TEST_P(Golden, Logits_AfterPrefill_AgreeWithReference) {
  auto generator = make_generator(load(any_golden(model(), "model.gguf")), kContext);
  ASSERT_TRUE(generator.evaluate(ids(), false, {}).ok());
  const double difference = largest_difference(generator.logits(), reference_logits());
  std::printf("%s %s: largest difference of a logit %.2e\n", model().c_str(), prompt().c_str(),
              difference);
  EXPECT_LE(difference, std::get<0>(GetParam()).tolerance);
}

TEST_P(Golden, Logits_DecodeOnly_EqualPrefillBitForBit) {
  const auto loaded = load(any_golden(model(), "model.gguf"));
  auto prefill = make_generator(loaded, kContext);
  auto decode = make_generator(loaded, kContext);
  ASSERT_TRUE(prefill.evaluate(ids(), true, {}).ok());
  for (const std::int32_t id : ids()) {
    ASSERT_TRUE(decode.append(id, capture::Origin::kForced, {}).ok());
  }
  const std::vector<float> a(prefill.logits().begin(), prefill.logits().end());
  const std::vector<float> b(decode.logits().begin(), decode.logits().end());
  EXPECT_EQ(a, b);
}

TEST_P(Golden, Greedy_Continuation_EqualsReference) {
  auto generator = make_generator(load(any_golden(model(), "model.gguf")), kContext);
  const auto reference = read_json(any_golden(model(), "greedy" + suffix() + ".json")).at(prompt());
  const auto expected = reference.at("ids").get<std::vector<std::int32_t>>();
  ASSERT_TRUE(generator.evaluate(ids(), false, {}).ok());
  generator.sampler_settings.temperature = 0.0F;
  const std::vector<bool> usable = generator.model().usable_rows();
  bool ended = false;
  for (const std::int32_t id : expected) {
    ASSERT_FALSE(ended);
    // The reference takes the largest logit whatever it is; we never choose a row that no text
    // uses.
    EXPECT_EQ(generator.summary().raw_argmax, id);
    if (usable[static_cast<std::size_t>(id)]) {
      const auto mine = generator.choose();
      ASSERT_TRUE(mine.ok());
      EXPECT_EQ(mine.value(), id);
    }
    ended = generator.model().tokenizer->is_end(id);
    ASSERT_TRUE(generator.append(id, capture::Origin::kSampled, {}).ok());
  }
  EXPECT_EQ(ended, reference.at("ended_by_eog").get<bool>());
}

const Case kCases[] = {
    {"qwen2", ""},
    {"llama", ""},
    {"llama3", ""},
    {"qwen2-q8_0", "-dequantised"},
    {"qwen3", ""},
    {"gemma2", "", kGeluTolerance},
    {"phi3", ""},
    {"gpt2", "", kGeluTolerance},
    {"llama-moe", ""},
    {"qwen2-q4_0", "-dequantised"},
    {"qwen2-q5_0", "-dequantised"},
    {"qwen2-q4_k_m", "-dequantised"},
    {"qwen2-q5_k_m", "-dequantised"},
    {"qwen2-q6_k", "-dequantised"},
};

INSTANTIATE_TEST_SUITE_P(Models, Golden,
                         ::testing::Combine(::testing::ValuesIn(kCases),
                                            ::testing::Values("short", "long")));

}  // namespace
}  // namespace layerscope::testing

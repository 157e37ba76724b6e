// Tokens, logits and greedy continuations of the golden models.
//
// Tolerance 1e-4 (absolute, logits have a standard deviation of about 2.5): ten times what ordinary
// float32 evaluation shows, far below what any mistake causes (tests/golden/README.md).
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

constexpr double kTolerance = 1e-4;
constexpr int kContext = 256;

struct Case {
  const char* model;
  const char* suffix;  ///< "-dequantised" for quantised models, whose weights we expand exactly
};

class Golden : public ::testing::TestWithParam<std::tuple<Case, const char*>> {
 protected:
  [[nodiscard]] std::string model() const { return std::get<0>(GetParam()).model; }
  [[nodiscard]] std::string suffix() const { return std::get<0>(GetParam()).suffix; }
  [[nodiscard]] std::string prompt() const { return std::get<1>(GetParam()); }
  [[nodiscard]] std::vector<std::int32_t> ids() const {
    return read_json(golden(model(), "tokens-" + prompt() + ".json"))
        .at("ids")
        .get<std::vector<std::int32_t>>();
  }
  [[nodiscard]] std::vector<float> reference_logits() const {
    return read_floats(golden(model(), "logits-" + prompt() + suffix() + ".f32"));
  }
};

double largest_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return largest;
}

TEST_P(Golden, Prompt_Tokenised_EqualsReference) {
  const auto loaded = load(golden(model(), "model.gguf"));
  const std::string text = read_text(golden(model(), "prompt-" + prompt() + ".txt"));
  EXPECT_EQ(loaded->tokenizer->encode(text).ids, ids());
}

TEST_P(Golden, Logits_AfterPrefill_AgreeWithReference) {
  auto generator = make_generator(load(golden(model(), "model.gguf")), kContext);
  ASSERT_TRUE(generator.evaluate(ids(), false, {}).ok());
  const double difference = largest_difference(generator.logits(), reference_logits());
  std::printf("%s %s: largest difference of a logit %.2e\n", model().c_str(), prompt().c_str(),
              difference);
  EXPECT_LE(difference, kTolerance);
}

TEST_P(Golden, Logits_DecodeOnly_EqualPrefillBitForBit) {
  const auto loaded = load(golden(model(), "model.gguf"));
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
  auto generator = make_generator(load(golden(model(), "model.gguf")), kContext);
  const auto reference = read_json(golden(model(), "greedy" + suffix() + ".json")).at(prompt());
  const auto expected = reference.at("ids").get<std::vector<std::int32_t>>();
  ASSERT_TRUE(generator.evaluate(ids(), false, {}).ok());
  generator.sampler_settings.temperature = 0.0F;
  std::vector<std::int32_t> mine;
  while (mine.size() < expected.size()) {
    const auto id = generator.choose();
    ASSERT_TRUE(id.ok());
    mine.push_back(id.value());
    if (generator.model().tokenizer->is_end(id.value())) {
      break;
    }
    ASSERT_TRUE(generator.append(id.value(), capture::Origin::kSampled, {}).ok());
  }
  EXPECT_EQ(mine, expected);
  EXPECT_EQ(generator.model().tokenizer->is_end(mine.back()),
            reference.at("ended_by_eog").get<bool>());
}

INSTANTIATE_TEST_SUITE_P(Models, Golden,
                         ::testing::Combine(::testing::Values(Case{"qwen2", ""}, Case{"llama", ""},
                                                              Case{"llama3", ""},
                                                              Case{"qwen2-q8_0", "-dequantised"}),
                                            ::testing::Values("short", "long")));

}  // namespace
}  // namespace layerscope::testing

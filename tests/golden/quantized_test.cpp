// Quantised models against the reference's logits and greedy ids for the same weights expanded to
// float32. The models are not in the repository; where they are absent the test is skipped.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

constexpr double kTolerance = 1e-4;  // tests/golden/README.md

class QuantizedModel : public ::testing::TestWithParam<const char*> {};

TEST_P(QuantizedModel, LogitsAndGreedy_EqualTheExpandedReference) {
  const char* shared = std::getenv("LS_SHARED_DIR");
  const std::string folder =
      std::string(shared != nullptr ? shared : "../shared") + "/golden/" + GetParam() + "/";
  if (!std::filesystem::exists(folder + "model.gguf")) {
    GTEST_SKIP() << folder << " is not there (set LS_SHARED_DIR)";
  }
  const auto loaded = load(folder + "model.gguf");
  ASSERT_NE(loaded, nullptr);
  for (const std::string prompt : {"short", "long"}) {
    auto generator = make_generator(loaded, 256);
    const auto ids =
        read_json(folder + "tokens-" + prompt + ".json").at("ids").get<std::vector<std::int32_t>>();
    ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
    const auto expected = read_floats(folder + "logits-" + prompt + "-dequantised.f32");
    ASSERT_EQ(generator.logits().size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(generator.logits()[i], expected[i], kTolerance) << prompt << " logit " << i;
    }
    const auto greedy = read_json(folder + "greedy-dequantised.json")
                            .at(prompt)
                            .at("ids")
                            .get<std::vector<std::int32_t>>();
    // The reference lets padding take part, our sampler does not: the arg-max of all rows.
    for (const std::int32_t id : greedy) {
      const auto& logits = generator.logits();
      ASSERT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(), id) << prompt;
      ASSERT_TRUE(generator.append(id, capture::Origin::kForced, {}).ok());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, QuantizedModel,
                         ::testing::Values("qwen2-q4_0", "qwen2-q5_0", "qwen2-q8_0", "qwen2-q4_k_m",
                                           "qwen2-q5_k_m", "qwen2-q6_k"));

}  // namespace
}  // namespace layerscope::testing

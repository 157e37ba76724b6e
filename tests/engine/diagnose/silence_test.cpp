// Silence: healthy runs give no error and no warning, whatever the prompt.
#include <gtest/gtest.h>

#include "tests/engine/diagnose/healthy.h"

namespace layerscope::testing {
namespace {

TEST(Silence, DemoModel_FiftyPrompts) {
  const auto model = load(demo_model());
  const auto list = healthy_prompts();
  ASSERT_GE(list.size(), 50U);
  for (std::size_t i = 0; i < list.size(); ++i) {
    expect_silent(diagnosed_run(model, healthy_request(*model, list, i)), list[i].substr(0, 60));
  }
}

TEST(Silence, DemoModel_OneTokenAndFullContext) {
  expect_silent_at_the_limits(load(demo_model()), "cpu");
}

TEST(Silence, Goldens_ShortLongAndTwoHundredTokens) {
  for (const std::string& name : golden_models()) {
    if (undecodable_type(any_golden(name, "model.gguf")).empty()) {
      expect_silent_golden(name, "cpu");
    }
  }
}

TEST(Silence, EveryArchitecture_ShortLongAndFullContext) {
  ASSERT_GE(tiny_models().size(), 20U);
  for (const std::string& name : tiny_models()) {
    expect_silent_model(name, {"a", "Hello", std::string(70, 'a'), "One, two, three, four, five."},
                        tiny(name, "model.gguf"), 128, "cpu");
  }
}

}  // namespace
}  // namespace layerscope::testing

// Model folders of every architecture, as transformers writes them and as its older versions did,
// against the logits that transformers computes from them (tests/golden/folders).
//
// Tolerance: both sides round every operation to float32. Seen: 4e-5 at logits of up to 28. A
// mistake in names, order of rows or scaling causes 0.01 and more.
#include <gtest/gtest.h>

#include <set>

#include "engine/arch/hf_names.h"
#include "tests/support/architectures.h"
#include "tests/support/seeded_folder.h"

namespace layerscope::testing {
namespace {

constexpr double kTolerance = 2e-4;

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder_cases())) {
    if (entry.path().extension() == ".json") {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

double worst(const SeededFolder& folder, const model::Model& model) {
  const nlohmann::json& golden = folder.golden;
  double difference = 0.0;
  for (const auto& [prompt, logits] :
       {std::pair{"prompt", "logits"}, {"prompt_short", "logits_short"}}) {
    const std::vector<std::int32_t> ids = golden.at(prompt);
    // Scalings that look at the length: transformers sees the tokens, we see the context.
    auto generator =
        make_generator(std::make_shared<const model::Model>(model), static_cast<int>(ids.size()));
    EXPECT_TRUE(generator.evaluate(ids, false, {}).ok());
    const std::vector<float> expected = golden.at(logits);
    difference = std::max(difference, largest_difference(generator.logits(), expected));
  }
  return difference;
}

class Folder : public ::testing::TestWithParam<std::string> {};

TEST_P(Folder, Logits_AgreeWithTransformers) {
  for (const char* key : {"config", "older_config"}) {
    const SeededFolder folder(GetParam(), key);
    const auto model = model::load_model(folder.path());
    ASSERT_TRUE(model.ok()) << key << ": " << model.error().message;
    const double difference = worst(folder, *model.value());
    EXPECT_LE(difference, kTolerance) << key;
    EXPECT_EQ(model.value()->weights.unread, std::vector<std::string>{}) << key;
    std::printf("%-24s %-13s %.1e\n", GetParam().c_str(), key, difference);
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, Folder, ::testing::ValuesIn(cases()), [](const auto& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Folders, EveryModelTypeOfTheTable_HasACase) {
  std::set<std::string> seen{"gemma3"};  // the same text model inside one with images
  for (const std::string& name : cases()) {
    seen.insert(read_json(folder_cases() + "/" + name + ".json").at("config").at("model_type"));
  }
  for (const arch::HfArchitecture& each : arch::hf_architectures()) {
    EXPECT_TRUE(seen.contains(std::string(each.model_type))) << each.model_type;
  }
}

/// The scalings matter: with the frequencies of another one the logits are far off.
TEST(Folders, ScalingLeftOut_IsFarOff) {
  for (const char* name : {"llama-dynamic", "llama-yarn-attention", "llama-yarn-mscale",
                           "llama-longrope", "phi3-partial-longrope"}) {
    const SeededFolder folder(name, "config");
    nlohmann::json config = folder.golden.at("config");
    config["rope_parameters"]["rope_type"] = "default";
    folder.write("config.json", config.dump());
    const auto model = model::load_model(folder.path());
    ASSERT_TRUE(model.ok()) << model.error().message;
    EXPECT_GT(worst(folder, *model.value()), 50 * kTolerance) << name;
  }
}

TEST(Folders, ScalingsThatCannotBe_GetOneSentence) {
  struct Case {
    const char* name;
    nlohmann::json change;
    const char* fragment;
  };
  for (const Case& each : std::vector<Case>{
           {"llama", {{"rope_type", "mrope_of_the_future"}}, "type 'mrope_of_the_future'"},
           {"llama", {{"rope_type", "linear"}, {"factor", -1.0}}, "rope.scaling.factor"},
           {"llama", {{"rope_type", "dynamic"}}, "'dynamic' without a 'factor'"},
           {"llama-yarn-attention", {{"truncate", false}}, "'truncate' off"},
           {"phi3-longrope", {{"long_factor", nullptr}}, "long_factor' is no list of numbers"},
           {"phi3-longrope", {{"short_factor", {1.0, "x"}}}, "short_factor' is no list of numbers"},
           {"phi3-longrope",
            {{"short_factor", {1.0, 2.0}}},
            "'rope_factors_short.weight' has shape"},
           {"phi3-longrope",
            {{"short_factor", {1.0, 2.0, 0.0, 1.0}}},
            "divisors must be positive"}}) {
    const SeededFolder folder(each.name, "config");
    nlohmann::json config = folder.golden.at("config");
    config["rope_parameters"].update(each.change);
    folder.write("config.json", config.dump());
    const auto model = model::load_model(folder.path());
    ASSERT_FALSE(model.ok()) << each.change;
    EXPECT_EQ(model.error().code, ErrorCode::kInvalidInput);
    EXPECT_NE(model.error().message.find(each.fragment), std::string::npos)
        << model.error().message;
    EXPECT_EQ(model.error().message.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace layerscope::testing

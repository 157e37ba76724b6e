// Hugging Face folders run as their GGUF does: the reference's logits hold for both.
#include "tests/support/hf_folder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "engine/arch/hf_folder.h"
#include "engine/arch/registry.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using nlohmann::ordered_json;

constexpr double kTolerance = 1e-4;  // tests/golden/README.md

struct Variant {
  const char* model;
  int shards;
  const char* opened;  ///< file of the folder that is opened; empty: the folder
};

class HfModel : public ::testing::TestWithParam<Variant> {};

TEST_P(HfModel, Logits_AgreeWithTheGgufsReference) {
  const Variant& variant = GetParam();
  const HfFolder folder(golden(variant.model, "model.gguf"), variant.shards);
  const auto loaded = load(folder / variant.opened);
  ASSERT_NE(loaded, nullptr);
  auto generator = make_generator(loaded, 256);
  const auto ids = read_json(golden(variant.model, "tokens-long.json"))
                       .at("ids")
                       .get<std::vector<std::int32_t>>();
  ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
  const auto expected = read_floats(golden(variant.model, "logits-long.f32"));
  ASSERT_EQ(generator.logits().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(generator.logits()[i], expected[i], kTolerance) << i;
  }
  EXPECT_EQ(loaded->file->find_tensor("blk.0.attn_q.weight")->source,
            "model.layers.0.self_attn.q_proj.weight");
}

INSTANTIATE_TEST_SUITE_P(Folders, HfModel,
                         ::testing::Values(Variant{"qwen2", 1, ""},
                                           Variant{"qwen2", 3, "config.json"},
                                           Variant{"llama3", 1, "model.safetensors"},
                                           Variant{"llama3", 2, "vocab.json"}));

TEST(HfModel, Tokenizer_IsThatOfTheGguf) {
  const HfFolder folder(golden("qwen2", "model.gguf"));
  const auto ours = load(folder.path());
  const auto theirs = load(golden("qwen2", "model.gguf"));
  const std::string text = read_text(golden("qwen2", "prompt-long.txt"));
  EXPECT_EQ(ours->tokenizer->encode(text).ids, theirs->tokenizer->encode(text).ids);
}

TEST(HfModel, BrokenConfigurations_GetOneSentenceEach) {
  struct Case {
    std::function<void(ordered_json&)> spoil;
    const char* fragment;
  };
  const std::vector<Case> cases{
      {[](auto& c) { c.erase("model_type"); }, "does not say the 'model_type'"},
      {[](auto& c) { c["model_type"] = "bert"; }, "model type 'bert' cannot be run from a folder"},
      {[](auto& c) {
         c["quantization_config"] = {{"quant_method", "gptq"}};
       },
       "quantised by 'gptq'"},
      {[](auto& c) {
         c["rope_scaling"] = {{"rope_type", "spiral"}, {"factor", 2.0}};
       },
       "RoPE scaling of type 'spiral'"},
      {[](auto& c) { c["hidden_size"] = 32; }, "has shape"},
      {[](auto& c) { c["num_hidden_layers"] = 4; }, "is missing"},
      {[](auto& c) { c["num_hidden_layers"] = -1; }, "'qwen2.block_count' is -1"},
      {[](auto& c) { c["num_attention_heads"] = "four"; }, "must be an integer"},
      {[](auto& c) { c.erase("rms_norm_eps"); }, "layer_norm_rms_epsilon' is missing"},
      {[](auto& c) { c["num_hidden_layers"] = 1e300; }, "must be an integer"},
  };
  for (const Case& each : cases) {
    const HfFolder folder(golden("qwen2", "model.gguf"));
    ordered_json config = folder.config();
    each.spoil(config);
    folder.write("config.json", config.dump());
    const auto loaded = model::load_model(folder.path());
    ASSERT_FALSE(loaded.ok()) << each.fragment;
    EXPECT_EQ(loaded.error().code, ErrorCode::kInvalidInput);
    EXPECT_NE(loaded.error().message.find(each.fragment), std::string::npos)
        << loaded.error().message;
    EXPECT_EQ(loaded.error().message.find('\n'), std::string::npos);
    std::string note;  // the inspector still opens it
    EXPECT_TRUE(arch::read_for_inspection(folder.path(), &note).ok());
  }
}

}  // namespace
}  // namespace layerscope::testing

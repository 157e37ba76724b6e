// Loading models whose hyper-parameters or tensors are wrong: each gets its own sentence.
//
// The bad files are made from a golden model by changing its bytes, so they are whole otherwise.
#include "engine/model/model.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "engine/arch/registry.h"
#include "tests/engine/model/edited_model.h"

namespace layerscope::testing {
namespace {

TEST(Model, Unchanged_Loads) { EXPECT_EQ(EditedModel("qwen2").message(), "loaded"); }

TEST(Model, MissingHyperParameter_IsNamed) {
  for (const std::string key :
       {"qwen2.block_count", "qwen2.embedding_length", "qwen2.feed_forward_length",
        "qwen2.context_length", "qwen2.attention.head_count"}) {
    EditedModel file("qwen2");
    std::string other = key;
    other.back() = '#';
    file.rename(key, other);
    const std::string message = file.message();
    EXPECT_SAYS(message, key);
    EXPECT_SAYS(message, "missing");
  }
}

TEST(Model, AbsurdHyperParameters_AreRefused) {
  EditedModel layers("qwen2");
  layers.set<std::uint32_t>("qwen2.block_count", 4000000000U);
  EXPECT_SAYS(layers.message(), "qwen2.block_count");
  EditedModel zero("qwen2");
  zero.set<std::uint32_t>("qwen2.embedding_length", 0U);
  EXPECT_SAYS(zero.message(), "qwen2.embedding_length");
  EditedModel heads("qwen2");
  heads.set<std::uint32_t>("qwen2.attention.head_count_kv", 3U);
  EXPECT_SAYS(heads.message(), "key/value heads");
  EditedModel eps("qwen2");
  eps.set<float>("qwen2.attention.layer_norm_rms_epsilon", std::nanf(""));
  EXPECT_SAYS(eps.message(), "layer_norm_rms_epsilon");
  EditedModel base("qwen2");
  base.set<float>("qwen2.rope.freq_base", -1.0F);
  EXPECT_SAYS(base.message(), "rope.freq_base");
}

TEST(Model, MissingTensorOrBias_IsNamed) {
  EditedModel norm("llama");
  norm.rename("blk.1.ffn_norm.weight", "blk.1.ffn_n0rm.weight");
  EXPECT_SAYS(norm.message(), "'blk.1.ffn_norm.weight' is missing");
  EditedModel bias("qwen2");
  bias.rename("blk.2.attn_k.bias", "blk.2.attn_k.b1as");
  EXPECT_SAYS(bias.message(), "'blk.2.attn_k.bias' is missing");
}

TEST(Model, WrongShape_NamesBothShapes) {
  EditedModel file("qwen2");
  file.set<std::uint32_t>("qwen2.feed_forward_length", 64U);
  const std::string message = file.message();
  EXPECT_SAYS(message, "ffn_gate.weight");
  EXPECT_SAYS(message, "[128, 64]");
  EXPECT_SAYS(message, "[64, 64]");
}

TEST(Model, UnknownArchitecture_ListsTheSupportedOnes) {
  EditedModel file("llama");
  const std::string bytes = read_text(golden("llama", "model.gguf"));
  file.rename(std::string("llama\x0d", 5), "lLama");
  const std::string message = file.message();
  EXPECT_SAYS(message, "lLama");
  EXPECT_SAYS(message, "qwen2");
}

TEST(Model, UnsupportedQuantisation_IsNamedAndTheFileStaysReadable) {
  EditedModel file("qwen2-q8_0");
  // Two dimensions of 256, then the type: IQ1_S, which takes less room than Q8_0.
  file.set("blk.0.ffn_gate.weight", std::array<std::uint32_t, 5>{256, 0, 256, 0, 19});
  const std::string message = file.message();
  EXPECT_SAYS(message, "blk.0.ffn_gate.weight");
  EXPECT_SAYS(message, "IQ1_S");
  EXPECT_TRUE(format::read_model_file(file.path()).ok()) << "the inspector lists what cannot run";
}

TEST(Model, StopRequested_CancelsLoading) {
  std::stop_source stop;
  stop.request_stop();
  const auto result = model::load_model(demo_model(), stop.get_token());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
}

TEST(Model, Progress_RisesToOne) {
  double last = 0.0;
  const auto model = model::load_model(demo_model(), {}, [&](double fraction) {
    EXPECT_GE(fraction, last);
    last = fraction;
  });
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(last, 1.0);
}

TEST(Model, Demo_SaysWhatItIs) {
  const auto model = load(demo_model());
  EXPECT_EQ(model->quantization(), "F16");
  EXPECT_GT(model->n_params(), 6'000'000U);
  EXPECT_TRUE(model->weights.tied_head);
  EXPECT_TRUE(model->weights.unread.empty());
  EXPECT_FALSE(model->weights.layers[0].q_bias.empty());
}

}  // namespace
}  // namespace layerscope::testing

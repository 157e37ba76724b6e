// Hostile files of the architectures: absurd hyper-parameters, missing and misshapen tensors. Each
// gets a sentence that names the key or the tensor. And what long contexts do to the frequencies.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/model/edited_model.h"
#include "tests/support/architectures.h"

namespace layerscope::testing {
namespace {

std::string says(const std::string& model, const auto& change) {
  EditedModel file = EditedModel::of_file(tiny(model, "model.gguf"));
  change(file);
  return file.message();
}

template <typename T>
std::string with_value(const std::string& model, const std::string& key, T value) {
  return says(model, [&](EditedModel& file) { file.set<T>(key, value); });
}

std::string without(const std::string& model, const std::string& name) {
  return says(model, [&](EditedModel& file) {
    std::string other = name;
    other[other.size() - 2] = '#';
    file.rename(name, other);
  });
}

TEST(ArchitectureFiles, MissingTensors_AreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"gemma3", "blk.2.post_attention_norm.weight"},
      {"gemma3", "blk.1.attn_k_norm.weight"},
      {"phi2", "blk.1.attn_q.bias"},
      {"phi2", "blk.0.ffn_up.bias"},
      {"phi2", "output_norm.bias"},
      {"phi3-longrope", "blk.1.attn_qkv.weight"},
      {"phi3-longrope", "rope_factors_short.weight"},
      {"gptneox-parallel", "blk.1.attn_norm.bias"},
      {"gptneox-parallel", "blk.2.attn_qkv.bias"},
      {"falcon-40b", "blk.1.attn_norm_2.weight"},
      {"qwen3moe", "blk.1.ffn_gate_inp.weight"},
      {"qwen3moe", "blk.0.ffn_down_exps.weight"},
      {"olmo2", "blk.0.post_ffw_norm.weight"},
      {"command-r-plus", "blk.1.attn_q_norm.weight"},
  };
  for (const auto& [model, tensor] : cases) {
    const std::string message = without(model, tensor);
    EXPECT_SAYS(message, std::string("'") + tensor + "' is missing");
  }
}

TEST(ArchitectureFiles, AbsurdHyperParameters_AreNamed) {
  EXPECT_SAYS(with_value<std::uint32_t>("qwen3moe", "qwen3moe.expert_count", 4000000000U),
              "qwen3moe.expert_count");
  EXPECT_SAYS(with_value<std::uint32_t>("qwen3moe", "qwen3moe.expert_used_count", 7U),
              "qwen3moe.expert_used_count");
  EXPECT_SAYS(with_value<std::uint32_t>("qwen3moe", "qwen3moe.expert_count", 0U), "expert_count");
  EXPECT_SAYS(
      with_value<std::uint32_t>("mistral-window", "llama.attention.sliding_window", 4000000000U),
      "sliding_window");
  EXPECT_SAYS(with_value<float>("command-r", "command-r.logit_scale", std::nanf("")),
              "command-r.logit_scale");
  EXPECT_SAYS(with_value<float>("llama-yarn", "llama.rope.scaling.factor", -2.0F),
              "rope.scaling.factor");
  EXPECT_SAYS(with_value<float>("phi2", "phi2.attention.layer_norm_epsilon", -1.0F),
              "layer_norm_epsilon");
  EXPECT_SAYS(with_value<std::uint32_t>("gptneox-parallel", "gptneox.rope.dimension_count", 9U),
              "rope.dimension_count");
}

TEST(ArchitectureFiles, WrongShapes_NameBothShapes) {
  std::string message = with_value<std::uint32_t>("qwen3moe", "qwen3moe.expert_count", 5U);
  EXPECT_SAYS(message, "ffn_gate_inp.weight");
  EXPECT_SAYS(message, "[6, 32]");
  EXPECT_SAYS(message, "[5, 32]");
  message = with_value<std::uint32_t>("qwen3moe", "qwen3moe.expert_feed_forward_length", 1048576U);
  EXPECT_SAYS(message, "ffn_gate_exps.weight");
  EXPECT_SAYS(message, "[6, 16, 32]");
  message = with_value<std::uint32_t>("falcon-40b", "falcon.attention.head_count_kv", 4U);
  EXPECT_SAYS(message, "attn_qkv.weight");
  EXPECT_SAYS(message, "[64, 32]");
  EXPECT_SAYS(message, "[96, 32]");
  message = with_value<std::uint32_t>("phi3-longrope", "phi3.feed_forward_length", 24U);
  EXPECT_SAYS(message, "ffn_up.weight");
  EXPECT_SAYS(message, "[96, 32]");
  EXPECT_SAYS(message, "[48, 32]");
}

TEST(ArchitectureFiles, UnknownRopeScaling_IsRefusedByName) {
  EXPECT_SAYS(says("llama-yarn", [](EditedModel& file) { file.rename("yarn", "yarm"); }), "'yarm'");
}

/// The kind that configurations name gives what converters store as divisors.
TEST(RopeScaling, Llama3Formula_EqualsTheStoredDivisors) {
  const auto model = load(tiny("llama3-scaling", "model.gguf"));
  model::DecoderSpec spec = model->spec;
  spec.rope_scaling = model::RopeScaling::kLlama3;
  spec.rope_divisor = 8.0;
  spec.rope_original_context = 64;
  const std::vector<double> mine = model::rope_frequencies(spec, spec.rope_base);
  ASSERT_EQ(mine.size(), model->weights.inv_freq.size());
  for (std::size_t i = 0; i < mine.size(); ++i) {
    EXPECT_NEAR(mine[i] / model->weights.inv_freq[i], 1.0, 1e-6) << i;
  }
  EXPECT_NE(model->weights.inv_freq, model::rope_frequencies(model->spec, spec.rope_base));
}

TEST(LearnedPositions, ContextBeyondThem_IsRefused) {
  const std::string path = any_golden("gpt2", "model.gguf");
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no golden gpt2 here; set LS_SHARED_DIR";
  }
  const auto backend = backend::create_backend(load(path), {"cpu", 1, 257});
  ASSERT_FALSE(backend.ok());
  EXPECT_SAYS(backend.error().message, "256 learned positions");
}

}  // namespace
}  // namespace layerscope::testing

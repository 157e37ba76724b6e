// Steps done ahead: the same tokens and bits as step by step, whatever interrupts them; and
// choosing on the GPU against the session's Sampler.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/gpu/cuda_generator.h"

namespace layerscope::testing {
namespace {

using capture::Origin;
using capture::Tier;
using session::SamplerSettings;

const std::vector<std::int32_t> kPrompt{72, 101, 75, 83, 99, 220, 86, 78};

SamplerSettings settings(float temperature, int top_k, float top_p, float min_p, float penalty) {
  SamplerSettings s;
  s.temperature = temperature;
  s.top_k = top_k;
  s.top_p = top_p;
  s.min_p = min_p;
  s.repeat_penalty = penalty;
  s.seed = 11;
  return s;
}

const SamplerSettings kSettings[] = {
    settings(0.0F, 40, 0.95F, 0.05F, 1.0F), settings(0.8F, 40, 0.95F, 0.05F, 1.0F),
    settings(1.0F, 0, 1.0F, 0.0F, 1.0F),    settings(1.5F, 0, 0.9F, 0.0F, 1.0F),
    settings(0.7F, 5, 1.0F, 0.0F, 1.3F),    settings(0.0F, 40, 1.0F, 0.0F, 1.5F),
    settings(30.0F, 0, 1.0F, 0.0F, 0.8F),   settings(1.2F, 200, 0.7F, 0.02F, 1.1F),
    settings(0.9F, 1, 0.5F, 0.5F, 1.0F)};

/// The GPU's choice against the host's draw from the GPU's own logits. The masses on the GPU are
/// rounded to 2⁻⁴⁰, so a draw may differ when it falls on an edge: never seen, one allowed.
TEST(GpuSampling, Choices_EqualTheHostSampler) {
  LS_NEEDS_CUDA();
  for (const std::string& path : {golden("qwen2", "model.gguf"), demo_model()}) {
    const auto model = load(path);
    const session::Sampler sampler(model->usable_rows());
    int different = 0, drawn = 0;
    for (const SamplerSettings& s : kSettings) {
      auto generator = cuda_generator(model, 128, false);
      generator.sampler_settings = s;
      ASSERT_TRUE(generator.evaluate(kPrompt, false, {}).ok());
      for (int i = 0; i < 60; ++i) {
        const auto chosen = generator.choose();
        ASSERT_TRUE(chosen.ok());
        const capture::Choice quick = generator.describe(chosen.value(), Origin::kSampled);
        const auto expected = sampler.sample(generator.logits(), generator.ids(), s);
        ASSERT_TRUE(expected.ok());
        ++drawn;
        different += chosen.value() != expected.value() ? 1 : 0;
        const auto slow = sampler.describe(generator.logits(), chosen.value(), Origin::kSampled,
                                           generator.summary());
        EXPECT_EQ(quick.rank, slow.rank);
        EXPECT_EQ(quick.logit, slow.logit);
        ASSERT_TRUE(generator.append(expected.value(), Origin::kSampled, {}).ok());
      }
    }
    std::printf("%d of %d draws differ from the host's\n", different, drawn);
    EXPECT_LE(different, 1);
  }
}

struct Tokens {
  std::vector<std::int32_t> ids;
  std::vector<capture::LogitSummary> summaries;
};

Tokens generate(session::Generator& generator, int n, int ahead) {
  Tokens run;
  for (int i = 0; i < n; ++i) {
    generator.ahead = std::min(ahead, n - i - 1);
    const auto id = generator.choose();
    EXPECT_TRUE(id.ok());
    run.ids.push_back(id.value());
    run.summaries.push_back(generator.summary());
    EXPECT_TRUE(generator.append(id.value(), Origin::kSampled, {}).ok());
    EXPECT_EQ(generator.backend().kv_len(), static_cast<int>(generator.frames().size()));
  }
  return run;
}

TEST(GpuAhead, AnyDistance_AnyTier_SameTokensAndSummaries) {
  LS_NEEDS_CUDA();
  const auto model = load(demo_model());
  for (const SamplerSettings& s : {kSettings[0], kSettings[1], kSettings[4]}) {
    for (const Tier tier : {Tier::kOff, Tier::kSummary, Tier::kAttention}) {
      std::vector<Tokens> runs;
      for (const int ahead : {0, 1, 2, 100}) {
        auto generator = cuda_generator(model, 200, false);
        generator.sampler_settings = s;
        generator.capture.tier = tier;
        ASSERT_TRUE(generator.evaluate(kPrompt, false, {}).ok());
        runs.push_back(generate(generator, 150, ahead));
        EXPECT_EQ(runs.front().ids, runs.back().ids) << "ahead " << ahead;
        for (std::size_t i = 0; i < runs.back().summaries.size(); ++i) {
          EXPECT_EQ(runs.front().summaries[i].lse, runs.back().summaries[i].lse);
          EXPECT_EQ(runs.front().summaries[i].top[5].logit, runs.back().summaries[i].top[5].logit);
        }
      }
    }
  }
}

// Forced tokens, rewinds, other settings and a look at the logits come in the middle of steps that
// are done ahead: all of it as if nothing had been.
TEST(GpuAhead, Interruptions_LeaveNoTrace) {
  LS_NEEDS_CUDA();
  const auto model = load(demo_model());
  const auto play = [&](int ahead) {
    auto generator = cuda_generator(model, 160, false);
    generator.capture.tier = Tier::kAttention;
    EXPECT_TRUE(generator.evaluate(kPrompt, false, {}).ok());
    std::vector<float> seen;
    const auto look = [&] {
      seen.insert(seen.end(), generator.logits().begin(), generator.logits().end());
    };
    const auto walk = [&](int n) {
      for (int i = 0; i < n; ++i) {
        generator.ahead = ahead;
        const auto id = generator.choose();
        EXPECT_TRUE(id.ok());
        EXPECT_TRUE(generator.append(id.value(), Origin::kSampled, {}).ok());
      }
    };
    walk(10);
    look();
    walk(3);
    EXPECT_TRUE(generator.append(77, Origin::kForced, {}).ok());
    walk(5);
    EXPECT_TRUE(generator.rewind(12, {}).ok());
    look();
    walk(70);
    generator.sampler_settings = kSettings[1];
    walk(9);
    EXPECT_TRUE(generator.evaluate(std::vector<std::int32_t>{5, 6, 7}, false, {}).ok());
    walk(4);
    look();
    std::vector<float> row(generator.frames().size());
    EXPECT_TRUE(generator.backend().captured_row(*generator.frames().back(), 1, 1, row).ok());
    seen.insert(seen.end(), row.begin(), row.end());
    for (const std::int32_t id : generator.ids()) {
      seen.push_back(static_cast<float>(id));
    }
    return seen;
  };
  const auto plain = play(0);
  for (const int ahead : {1, 2}) {
    const auto other = play(ahead);
    ASSERT_EQ(plain.size(), other.size());
    EXPECT_EQ(0, std::memcmp(plain.data(), other.data(), plain.size() * sizeof(float)));
  }
}

TEST(GpuAhead, ContextEnd_IsReachedAndNotPassed) {
  LS_NEEDS_CUDA();
  auto generator = cuda_generator(load(demo_model()), 20, false);
  ASSERT_TRUE(generator.evaluate(kPrompt, false, {}).ok());
  EXPECT_EQ(generate(generator, 12, 100).ids.size(), 12U);
  EXPECT_EQ(generator.backend().kv_len(), 20);
  EXPECT_FALSE(generator.append(1, Origin::kForced, {}).ok());
}

}  // namespace
}  // namespace layerscope::testing

// Sampling against a plain second implementation, and its promises: padded rows never, exact sums.
#include "engine/session/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

namespace layerscope::session {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

SamplerSettings plain() {
  SamplerSettings s;
  s.temperature = 1.0F;
  s.top_k = 0;
  s.top_p = 1.0F;
  s.min_p = 0.0F;
  return s;
}

std::vector<float> random_logits(std::size_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0F, 3.0F);
  std::vector<float> logits(n);
  std::generate(logits.begin(), logits.end(), [&] { return normal(rng); });
  return logits;
}

/// The definition, written out: sort, cut, renormalise, in long double.
std::map<std::int32_t, double> naive(const std::vector<float>& logits,
                                     const std::vector<bool>& usable,
                                     const std::vector<std::int32_t>& history,
                                     const SamplerSettings& s) {
  std::vector<std::pair<long double, std::int32_t>> list;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    long double l = logits[i];
    const auto id = static_cast<std::int32_t>(i);
    const auto begin =
        history.end() - std::min<std::ptrdiff_t>(s.repeat_last_n, std::ssize(history));
    if (std::find(begin, history.end(), id) != history.end()) {
      l = l > 0 ? l / static_cast<long double>(s.repeat_penalty)
                : l * static_cast<long double>(s.repeat_penalty);
    }
    if (usable[i]) {
      list.emplace_back(l, id);
    }
  }
  std::sort(list.begin(), list.end(), [](auto& a, auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  if (s.top_k > 0 && list.size() > static_cast<std::size_t>(s.top_k)) {
    list.resize(static_cast<std::size_t>(s.top_k));
  }
  long double total = 0;
  for (auto& [l, id] : list)
    total += std::exp(l);
  long double sum = 0;
  std::size_t keep = list.size();
  for (std::size_t i = 0; i < list.size() && s.top_p < 1.0F; ++i) {
    sum += std::exp(list[i].first) / total;
    if (sum >= static_cast<long double>(s.top_p)) {
      keep = i + 1;
      break;
    }
  }
  list.resize(keep);
  std::erase_if(list, [&, best = std::exp(list[0].first)](auto& x) {
    return std::exp(x.first) < static_cast<long double>(s.min_p) * best;
  });
  total = 0;
  for (auto& [l, id] : list)
    total += std::exp(l / static_cast<long double>(s.temperature));
  std::map<std::int32_t, double> out;
  for (auto& [l, id] : list) {
    out[id] = static_cast<double>(std::exp(l / static_cast<long double>(s.temperature)) / total);
  }
  return out;
}

TEST(Sampler, Distribution_ManySettings_AgreesWithDefinition) {
  std::vector<bool> usable(300, true);
  for (std::size_t i = 280; i < 300; ++i)
    usable[i] = false;
  const std::vector<std::int32_t> history{5, 6, 7, 5, 200, 3};
  const Sampler sampler(usable);
  unsigned seed = 0;
  for (const float temperature : {0.3F, 1.0F, 2.0F}) {
    for (const std::int32_t top_k : {0, 1, 40}) {
      for (const float top_p : {1.0F, 0.9F, 0.0F}) {
        for (const float min_p : {0.0F, 0.1F, 1.0F}) {
          for (const float penalty : {1.0F, 1.3F}) {
            const auto logits = random_logits(300, ++seed);
            const SamplerSettings s{temperature, top_k, top_p, min_p, penalty, 3, 0};
            const auto expected = naive(logits, usable, history, s);
            const auto mine = sampler.distribution(logits, history, s);
            ASSERT_EQ(mine.size(), expected.size()) << "seed " << seed;
            double sum = 0.0;
            for (const Candidate& c : mine) {
              ASSERT_NEAR(c.prob, expected.at(c.id), 1e-9);
              sum += c.prob;
            }
            ASSERT_NEAR(sum, 1.0, 1e-12);
          }
        }
      }
    }
  }
}

TEST(Sampler, PaddedRows_WithLargestLogits_AreNeverDrawn) {
  std::vector<float> logits = random_logits(64, 1);
  std::vector<bool> usable(64, true);
  for (std::size_t i = 32; i < 64; ++i) {
    usable[i] = false;
    logits[i] = 100.0F;
  }
  const Sampler sampler(usable);
  SamplerSettings s = plain();
  s.temperature = 100.0F;
  std::vector<std::int32_t> history;
  for (int i = 0; i < 2000; ++i) {
    const auto id = sampler.sample(logits, history, s);
    ASSERT_TRUE(id.ok());
    ASSERT_LT(id.value(), 32);
    history.push_back(id.value());
  }
  s.temperature = 0.0F;
  EXPECT_LT(sampler.sample(logits, history, s).value(), 32);
  const auto summary = sampler.summarize(logits);
  EXPECT_GE(summary.raw_argmax, 32) << "the summary still shows what a careless arg-max would take";
  EXPECT_GE(summary.best_padded.id, 32);
  EXPECT_EQ(summary.best_padded.logit, 100.0F);
}

TEST(Sampler, Draws_ManyPositions_FollowTheDistribution) {
  const std::vector<float> logits{0.0F, 1.0F, 2.0F};
  const Sampler sampler({true, true, true});
  const auto expected = sampler.distribution(logits, {}, plain());
  std::map<std::int32_t, int> counts;
  std::vector<std::int32_t> history;
  const int n = 20000;
  for (int i = 0; i < n; ++i) {
    const auto id = sampler.sample(logits, history, plain()).value();
    ++counts[id];
    history.push_back(id);
  }
  for (const Candidate& c : expected) {
    const double sigma = std::sqrt(c.prob * (1.0 - c.prob) / n);
    EXPECT_NEAR(static_cast<double>(counts[c.id]) / n, c.prob, 4.0 * sigma);
  }
}

TEST(Sampler, SameSeedAndPosition_SameDraw_OtherSeedDiffers) {
  const auto logits = random_logits(500, 3);
  const Sampler sampler(std::vector<bool>(500, true));
  SamplerSettings a = plain();
  SamplerSettings b = plain();
  b.seed = 1;
  std::vector<std::int32_t> history;
  int different = 0;
  for (int i = 0; i < 50; ++i) {
    const auto first = sampler.sample(logits, history, a).value();
    EXPECT_EQ(first, sampler.sample(logits, history, a).value());
    different += first != sampler.sample(logits, history, b).value() ? 1 : 0;
    history.push_back(first);
  }
  EXPECT_GT(different, 10);
}

TEST(Sampler, NonFiniteLogits_AreLeftOut_AllOfThemIsAnError) {
  const Sampler sampler(std::vector<bool>(4, true));
  const std::vector<float> some{std::nanf(""), 1.0F, kInf, -kInf};
  EXPECT_EQ(sampler.sample(some, {}, SamplerSettings{}).value(), 1);
  EXPECT_EQ(sampler.summarize(some).non_finite, 3U);
  const std::vector<float> none(4, std::nanf(""));
  EXPECT_FALSE(sampler.sample(none, {}, SamplerSettings{}).ok());
  EXPECT_TRUE(sampler.summarize(none).top.empty());
}

TEST(Sampler, LargeVocabulary_SumsStayExact) {
  // 150,000 equal logits: a float32 sum that adds one by one is off in the third digit.
  const std::size_t n = 150000;
  const Sampler sampler(std::vector<bool>(n, true));
  const std::vector<float> logits(n, -7.25F);
  const auto summary = sampler.summarize(logits);
  EXPECT_NEAR(summary.lse, -7.25 + std::log(static_cast<double>(n)), 1e-9);
  EXPECT_NEAR(summary.entropy, std::log2(static_cast<double>(n)), 1e-5);
  EXPECT_NEAR(summary.top.front().prob, 1.0 / static_cast<double>(n), 1e-11);
}

TEST(Sampler, Describe_RankAndProbability_CountUsableRowsOnly) {
  const std::vector<float> logits{1.0F, 9.0F, 3.0F, 2.0F};
  const Sampler sampler({true, false, true, true});
  const auto summary = sampler.summarize(logits);
  const auto choice = sampler.describe(logits, 3, capture::Origin::kForced, summary);
  EXPECT_TRUE(choice.known);
  EXPECT_EQ(choice.rank, 1);
  const double total = std::exp(1.0) + std::exp(3.0) + std::exp(2.0);
  EXPECT_NEAR(choice.prob, std::exp(2.0) / total, 1e-6);
  EXPECT_EQ(sampler.describe(logits, 1, capture::Origin::kForced, summary).prob, 0.0F);
}

TEST(SamplerSettings, OutOfRange_IsRefusedByName) {
  SamplerSettings s;
  EXPECT_TRUE(validate(s).ok());
  s.top_p = 1.5F;
  ASSERT_FALSE(validate(s).ok());
  EXPECT_NE(validate(s).error().message.find("top-p"), std::string::npos);
  EXPECT_EQ(validate(s).error().code, ErrorCode::kUsage);
  s = {};
  s.temperature = std::nanf("");
  EXPECT_FALSE(validate(s).ok());
  s = {};
  s.repeat_penalty = 0.0F;
  EXPECT_FALSE(validate(s).ok());
}

}  // namespace
}  // namespace layerscope::session

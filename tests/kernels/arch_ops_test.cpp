// Operations of particular architectures against plain ones: layer norm, activations, capped and
// windowed attention, routing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/ops.h"

namespace layerscope::kernels {
namespace {

constexpr unsigned kSeed = 20260102;

std::vector<float> random_values(std::size_t n, unsigned seed, float scale = 1.0F) {
  std::mt19937 rng(kSeed + seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> values(n);
  std::generate(values.begin(), values.end(), [&] { return normal(rng); });
  return values;
}

TEST(LayerNorm, OddSizes_AgreeWithReference) {
  for (const std::size_t n : {1U, 2U, 3U, 5U, 31U, 64U, 257U}) {
    const auto x = random_values(n, 1, 3.0F);
    const auto w = random_values(n, 2);
    const auto b = random_values(n, 3);
    for (const float* bias : {b.data(), static_cast<const float*>(nullptr)}) {
      std::vector<float> mine(n, 1e30F);
      std::vector<float> plain(n);
      layer_norm(x.data(), w.data(), bias, n, 1e-5F, mine.data());
      reference::layer_norm(x.data(), w.data(), bias, n, 1e-5F, plain.data());
      for (std::size_t i = 0; i < n; ++i) {
        EXPECT_NEAR(mine[i], plain[i], 1e-6 * (1.0 + std::fabs(plain[i]))) << n << " " << i;
      }
    }
  }
}

TEST(LayerNorm, LargeMean_IsSubtractedExactly) {
  std::vector<float> x{1e6F, 1e6F + 1.0F, 1e6F - 1.0F, 1e6F};
  const std::vector<float> w(4, 1.0F);
  layer_norm(x.data(), w.data(), nullptr, 4, 1e-6F, x.data());  // may alias
  EXPECT_NEAR(x[1], std::sqrt(2.0), 1e-5);
  EXPECT_NEAR(x[2], -std::sqrt(2.0), 1e-5);
  EXPECT_EQ(x[0], 0.0F);
}

TEST(Activations, EveryKind_AgreesWithReference) {
  for (const Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    for (const std::size_t n : {1U, 7U, 16U, 33U, 1000U}) {
      auto gate = random_values(n, 4, 4.0F);
      gate[0] = -30.0F;
      const auto up = random_values(n, 5);
      for (const float* factor : {up.data(), static_cast<const float*>(nullptr)}) {
        std::vector<float> mine(n, 1e30F);
        std::vector<float> plain(n);
        activate(kind, gate.data(), factor, n, mine.data());
        reference::activate(kind, gate.data(), factor, n, plain.data());
        for (std::size_t i = 0; i < n; ++i) {
          // The reference's 1 + tanh cancels in float64 far below zero, hence the absolute part.
          EXPECT_NEAR(mine[i], plain[i], 3e-6 * std::fabs(plain[i]) + 1e-13)
              << static_cast<int>(kind) << " " << gate[i];
        }
      }
    }
  }
}

TEST(Activations, ExtremesAndNan_StayWhatTheyAre) {
  const std::vector<float> x{-1e38F, 1e38F, 0.0F, std::numeric_limits<float>::quiet_NaN()};
  for (const Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    std::vector<float> long_row;  // long enough for the vector path
    for (int i = 0; i < 16; ++i) {
      long_row.insert(long_row.end(), x.begin(), x.end());
    }
    std::vector<float> out(long_row.size());
    activate(kind, long_row.data(), nullptr, long_row.size(), out.data());
    for (std::size_t i = 0; i < out.size(); i += 4) {
      EXPECT_LE(std::fabs(out[i]), 1.0F);
      EXPECT_EQ(out[i + 1], 1e38F);
      EXPECT_EQ(out[i + 2], 0.0F);
      EXPECT_TRUE(std::isnan(out[i + 3]));
    }
  }
}

TEST(Attention, CapAndWindow_AgreeWithReference_AndOldKeysAreNotRead) {
  for (const std::size_t kv_len : {1U, 5U, 40U}) {
    for (const std::size_t first : {std::size_t{0}, kv_len / 2, kv_len - 1}) {
      for (const float cap : {0.0F, 2.0F}) {
        constexpr std::size_t kDim = 20;
        const auto q = random_values(kDim, 6);
        auto k = random_values(kv_len * kDim, 7);
        auto v = random_values(kv_len * kDim, 8);
        const float nan = std::numeric_limits<float>::quiet_NaN();
        std::fill_n(k.begin(), first * kDim, nan);
        std::fill_n(v.begin(), first * kDim, nan);
        std::vector<float> scores(kv_len), probs(kv_len), out(kDim);
        std::vector<float> scores2(kv_len), probs2(kv_len), out2(kDim);
        AttentionHead head{q.data(), k.data(), v.data(), kv_len, kDim, 0.5F};
        head.soft_cap = cap;
        head.first_key = first;
        head.scores = scores.data();
        head.probs = probs.data();
        head.out = out.data();
        AttentionSummary summary;
        attention_head(head, &summary);
        if (first == 0) {
          head.scores = scores2.data();
          head.probs = probs2.data();
          head.out = out2.data();
          reference::attention_head(head, nullptr);
        } else {  // the reference sees the visible keys alone
          AttentionHead rest = head;
          rest.k += first * kDim;
          rest.v += first * kDim;
          rest.kv_len -= first;
          rest.first_key = 0;
          std::fill_n(scores2.begin(), first, -std::numeric_limits<float>::infinity());
          rest.scores = scores2.data() + first;
          rest.probs = probs2.data() + first;
          rest.out = out2.data();
          reference::attention_head(rest, nullptr);
        }
        for (std::size_t j = 0; j < kv_len; ++j) {
          if (j < first) {
            EXPECT_EQ(scores[j], scores2[j]);
            EXPECT_EQ(probs[j], 0.0F);
          } else {
            EXPECT_NEAR(scores[j], scores2[j], 1e-5);
            EXPECT_NEAR(probs[j], probs2[j], 1e-6);
            EXPECT_TRUE(cap == 0.0F || std::fabs(scores[j]) <= cap);
          }
        }
        for (std::size_t d = 0; d < kDim; ++d) {
          EXPECT_NEAR(out[d], out2[d], 1e-5);
        }
        EXPECT_NEAR(summary.row_sum, 1.0, 1e-5);
        EXPECT_GE(summary.argmax, static_cast<std::int32_t>(first));
      }
    }
  }
}

/// By definition: sort all, soft-max over all, divide by the chosen ones' sum.
TEST(RouteExperts, RandomLogits_ChooseTheLargest) {
  for (const std::size_t n : {1U, 2U, 4U, 61U}) {
    for (std::size_t k = 1; k <= std::min<std::size_t>(n, 8); ++k) {
      const auto logits = random_values(n, static_cast<unsigned>(n * 10 + k), 2.0F);
      std::vector<std::size_t> order(n);
      double total = 0.0;
      for (std::size_t e = 0; e < n; ++e) {
        order[e] = e;
        total += std::exp(static_cast<double>(logits[e]));
      }
      std::sort(order.begin(), order.end(),
                [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
      double sum = 0.0;
      for (std::size_t i = 0; i < k; ++i) {
        sum += std::exp(static_cast<double>(logits[order[i]])) / total;
      }
      for (const bool normalise : {false, true}) {
        std::vector<std::int32_t> chosen(k);
        std::vector<float> weights(k);
        route_experts(logits.data(), n, k, normalise, chosen.data(), weights.data());
        for (std::size_t i = 0; i < k; ++i) {
          EXPECT_EQ(chosen[i], static_cast<std::int32_t>(order[i]));
          const double p = std::exp(static_cast<double>(logits[order[i]])) / total;
          EXPECT_NEAR(weights[i], normalise ? p / sum : p, 1e-6);
        }
      }
    }
  }
}

TEST(RouteExperts, TiesAndNan_StillChooseDifferentExperts) {
  const std::vector<float> ties(5, 1.0F);
  std::vector<std::int32_t> chosen(3);
  std::vector<float> weights(3);
  route_experts(ties.data(), 5, 3, true, chosen.data(), weights.data());
  EXPECT_EQ(chosen, (std::vector<std::int32_t>{0, 1, 2}));
  const std::vector<float> bad(5, std::numeric_limits<float>::quiet_NaN());
  route_experts(bad.data(), 5, 3, true, chosen.data(), weights.data());
  std::sort(chosen.begin(), chosen.end());
  EXPECT_EQ(std::unique(chosen.begin(), chosen.end()), chosen.end());
  EXPECT_GE(chosen.front(), 0);
  EXPECT_LT(chosen.back(), 5);
}

TEST(RopeAngles, Factor_MultipliesBoth) {
  const double frequency = 0.3;
  float plain[2];
  float scaled[2];
  rope_angles(7, &frequency, 1, plain);
  rope_angles(7, &frequency, 1, scaled, 1.25);
  EXPECT_NEAR(scaled[0], 1.25 * static_cast<double>(plain[0]), 1e-6);
  EXPECT_NEAR(scaled[1], 1.25 * static_cast<double>(plain[1]), 1e-6);
}

}  // namespace
}  // namespace layerscope::kernels

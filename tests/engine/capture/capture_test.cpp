// Capture: it changes no result, it is complete, and what it says agrees with a second computation.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using capture::FullTensor;
using capture::PassCapture;
using capture::Tap;
using capture::Tier;

const std::vector<std::int32_t> kIds{72, 101, 75, 83, 99, 220, 86,  78, 81,
                                     75, 67,  3,  9,  27, 81,  243, 17};

std::vector<float> run(const std::string& path, Tier tier, std::vector<std::int32_t>* sampled) {
  auto generator = make_generator(load(path), 128);
  generator.capture.tier = tier;
  std::vector<float> all;
  EXPECT_TRUE(generator.evaluate(kIds, false, {}).ok());
  all.insert(all.end(), generator.logits().begin(), generator.logits().end());
  for (int i = 0; i < 8; ++i) {
    const auto id = generator.choose();
    EXPECT_TRUE(id.ok());
    sampled->push_back(id.value());
    EXPECT_TRUE(generator.append(id.value(), capture::Origin::kSampled, {}).ok());
    all.insert(all.end(), generator.logits().begin(), generator.logits().end());
  }
  return all;
}

class CaptureTiers : public ::testing::TestWithParam<std::string> {};

TEST_P(CaptureTiers, Logits_AnyTier_SameBits) {
  std::vector<std::int32_t> off_ids;
  const std::vector<float> off = run(GetParam(), Tier::kOff, &off_ids);
  for (const Tier tier : {Tier::kSummary, Tier::kAttention, Tier::kFull}) {
    std::vector<std::int32_t> ids;
    const std::vector<float> logits = run(GetParam(), tier, &ids);
    ASSERT_EQ(logits.size(), off.size());
    EXPECT_EQ(0, std::memcmp(logits.data(), off.data(), off.size() * sizeof(float)));
    EXPECT_EQ(ids, off_ids);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CaptureTiers,
                         ::testing::Values(golden("qwen2", "model.gguf"),
                                           golden("llama", "model.gguf"), demo_model()));

class Captured : public ::testing::Test {
 protected:
  void SetUp() override {
    generator_.capture.tier = Tier::kFull;
    generator_.on_pass = [this](const PassCapture& pass, std::span<const float>) {
      passes_.push_back(pass);
    };
    ASSERT_TRUE(generator_.evaluate(kIds, true, {}).ok());
    ASSERT_TRUE(generator_.append(5, capture::Origin::kForced, {}).ok());
  }

  session::Generator generator_ = make_generator(load(golden("qwen2", "model.gguf")), 64);
  std::vector<PassCapture> passes_;
};

TEST_F(Captured, FullTier_EveryTap_HasItsShapeInPrefillAndDecode) {
  const model::DecoderSpec& s = generator_.model().spec;
  ASSERT_EQ(passes_.size(), 2U);
  for (const PassCapture& pass : passes_) {
    const std::int64_t n = pass.n_tokens;
    const std::int64_t keys = pass.first_position + n;
    const std::map<Tap, std::vector<std::int64_t>> layer_shapes{
        {Tap::kAttnNorm, {n, s.hidden}},
        {Tap::kQ, {n, s.n_heads, s.head_dim}},
        {Tap::kK, {n, s.n_kv_heads, s.head_dim}},
        {Tap::kV, {n, s.n_kv_heads, s.head_dim}},
        {Tap::kQRope, {n, s.n_heads, s.head_dim}},
        {Tap::kKRope, {n, s.n_kv_heads, s.head_dim}},
        {Tap::kAttnScores, {s.n_heads, n, keys}},
        {Tap::kAttnWeights, {s.n_heads, n, keys}},
        {Tap::kAttnContext, {n, s.n_heads, s.head_dim}},
        {Tap::kAttnOut, {n, s.hidden}},
        {Tap::kResidMid, {n, s.hidden}},
        {Tap::kFfnNorm, {n, s.hidden}},
        {Tap::kFfnGate, {n, s.ffn}},
        {Tap::kFfnUp, {n, s.ffn}},
        {Tap::kFfnAct, {n, s.ffn}},
        {Tap::kFfnOut, {n, s.hidden}},
        {Tap::kResidOut, {n, s.hidden}},
    };
    std::map<std::pair<Tap, int>, const FullTensor*> found;
    for (const FullTensor& tensor : pass.tensors) {
      EXPECT_TRUE(found.emplace(std::pair(tensor.tap, tensor.layer), &tensor).second);
    }
    for (int layer = 0; layer < s.n_layers; ++layer) {
      for (const auto& [tap, shape] : layer_shapes) {
        const auto it = found.find({tap, layer});
        ASSERT_NE(it, found.end()) << capture::tap_name(tap);
        EXPECT_EQ(it->second->shape, shape) << capture::tap_name(tap);
      }
    }
    EXPECT_EQ(found.size(), layer_shapes.size() * static_cast<std::size_t>(s.n_layers) + 3);
    EXPECT_EQ(found.at({Tap::kEmbedding, -1})->shape, (std::vector<std::int64_t>{n, s.hidden}));
    EXPECT_EQ(found.at({Tap::kFinalNorm, -1})->shape, (std::vector<std::int64_t>{n, s.hidden}));
    EXPECT_EQ(found.at({Tap::kLogits, -1})->shape, (std::vector<std::int64_t>{n, s.vocab_rows}));
  }
}

TEST_F(Captured, Summary_OfEveryTap_AgreesWithWholeTensor) {
  for (PassCapture& pass : passes_) {
    for (const FullTensor& tensor : pass.tensors) {
      if (tensor.tap == Tap::kAttnScores || tensor.tap == Tap::kAttnWeights) {
        continue;  // summarised per head
      }
      const auto width = tensor.values.size() / static_cast<std::size_t>(pass.n_tokens);
      for (int t = 0; t < pass.n_tokens; ++t) {
        double squares = 0.0;
        double sum = 0.0;
        double top = 0.0;
        for (std::size_t i = 0; i < width; ++i) {
          const double v = tensor.values[static_cast<std::size_t>(t) * width + i];
          squares += v * v;
          sum += v;
          top = std::max(top, std::fabs(v));
        }
        const capture::TapStats& stats = pass.stats(t, tensor.layer, tensor.tap);
        EXPECT_EQ(stats.count, width) << capture::tap_name(tensor.tap);
        EXPECT_NEAR(stats.l2, std::sqrt(squares), 1e-4 * (1.0 + std::sqrt(squares)));
        EXPECT_NEAR(stats.mean, sum / static_cast<double>(width), 1e-4);
        EXPECT_NEAR(stats.absmax, top, 1e-6 * (1.0 + top));
        EXPECT_EQ(stats.non_finite, 0U);
      }
    }
  }
}

TEST_F(Captured, AttentionRows_EqualWholeTensorAndRecomputedRows) {
  for (const PassCapture& pass : passes_) {
    for (const FullTensor& tensor : pass.tensors) {
      if (tensor.tap != Tap::kAttnWeights) {
        continue;
      }
      const auto keys = static_cast<std::size_t>(tensor.shape[2]);
      for (int h = 0; h < pass.n_heads; ++h) {
        for (int t = 0; t < pass.n_tokens; ++t) {
          const int position = pass.first_position + t;
          const auto n = static_cast<std::size_t>(position) + 1;
          const auto& frame = *generator_.frames()[static_cast<std::size_t>(position)];
          const auto row = frame.attention_row(tensor.layer, h);
          ASSERT_EQ(row.size(), n);
          std::vector<float> again(n);
          generator_.backend().attention_row(tensor.layer, h, position, again);
          const float* whole = tensor.values.data() + (static_cast<std::size_t>(h) *
                                                           static_cast<std::size_t>(pass.n_tokens) +
                                                       static_cast<std::size_t>(t)) *
                                                          keys;
          double sum = 0.0;
          for (std::size_t j = 0; j < keys; ++j) {
            ASSERT_EQ(whole[j], j < n ? row[j] : 0.0F) << "mass beyond the diagonal";
            if (j < n) {
              ASSERT_EQ(row[j], again[j]) << "recomputed row differs";
              sum += static_cast<double>(row[j]);
            }
          }
          const capture::HeadStats& stats = frame.head(tensor.layer, h);
          EXPECT_NEAR(stats.row_sum, sum, 1e-5);
          EXPECT_EQ(stats.first, row[0]);
          EXPECT_EQ(stats.self, row[n - 1]);
          EXPECT_EQ(stats.max, row[static_cast<std::size_t>(stats.argmax)]);
        }
      }
    }
  }
}

TEST_F(Captured, LogitSummary_EveryToken_AgreesWithLogits) {
  const auto frames = generator_.frames();
  const auto usable = generator_.model().usable_rows();
  for (const FullTensor& tensor : passes_[0].tensors) {
    if (tensor.tap != Tap::kLogits) {
      continue;
    }
    const auto vocab = static_cast<std::size_t>(generator_.model().spec.vocab_rows);
    for (std::size_t t = 0; t < kIds.size(); ++t) {
      ASSERT_TRUE(frames[t]->logits.has_value());
      double sum = 0.0;
      for (std::size_t i = 0; i < vocab; ++i) {
        sum += usable[i] ? std::exp(static_cast<double>(tensor.values[t * vocab + i])) : 0.0;
      }
      EXPECT_NEAR(frames[t]->logits->lse, std::log(sum), 1e-6);
      const capture::TopToken& best = frames[t]->logits->top.front();
      EXPECT_NEAR(best.prob, std::exp(static_cast<double>(best.logit)) / sum, 1e-6);
      EXPECT_TRUE(usable[static_cast<std::size_t>(best.id)]);
      ASSERT_GE(frames[t]->logits->best_padded.id, 0);
      EXPECT_FALSE(usable[static_cast<std::size_t>(frames[t]->logits->best_padded.id)]);
    }
  }
}

TEST(CaptureRequest, LayersAndTaps_OnlyChosenOnes_AreKept) {
  auto generator = make_generator(load(golden("llama", "model.gguf")), 32);
  generator.capture = {Tier::kFull, 1, 1, 1U << static_cast<unsigned>(Tap::kResidOut)};
  int n = 0;
  generator.on_pass = [&](const PassCapture& pass, std::span<const float>) {
    for (const FullTensor& tensor : pass.tensors) {
      EXPECT_EQ(tensor.tap, Tap::kResidOut);
      EXPECT_EQ(tensor.layer, 1);
      ++n;
    }
  };
  ASSERT_TRUE(generator.evaluate(std::vector<std::int32_t>{1, 20, 30}, false, {}).ok());
  EXPECT_EQ(n, 1);
}

TEST(AttentionBudget, OldRows_AreDropped_StatisticsStay) {
  auto generator = make_generator(load(golden("qwen2", "model.gguf")), 64);
  generator.capture.tier = Tier::kAttention;
  generator.attention_budget = 4096;
  ASSERT_TRUE(generator.evaluate(kIds, false, {}).ok());
  EXPECT_LE(generator.attention_bytes(), 4096U);
  EXPECT_TRUE(generator.frames().front()->attention_row(0, 0).empty());
  EXPECT_TRUE(generator.frames().front()->has_stats());
  EXPECT_FALSE(generator.frames().back()->attention_row(0, 0).empty());
}

TEST(Taps, Names_FollowTheContract) {
  EXPECT_EQ(capture::tap_name(Tap::kEmbedding), "embedding");
  EXPECT_EQ(capture::tap_name(Tap::kMoeTopk), "moe_topk");
  EXPECT_EQ(capture::tap_name(Tap::kLogits), "logits");
  EXPECT_EQ(capture::find_tap("resid_out"), Tap::kResidOut);
  EXPECT_FALSE(capture::find_tap("nothing").has_value());
  for (std::size_t i = 0; i < capture::kNumTaps; ++i) {
    EXPECT_EQ(capture::find_tap(capture::tap_name(static_cast<Tap>(i))), static_cast<Tap>(i));
  }
}

}  // namespace
}  // namespace layerscope::testing

// Capture on the GPU: it changes no result, every tap agrees with the CPU's, rows can be had again.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "tests/gpu/cuda_generator.h"

namespace layerscope::testing {
namespace {

using capture::FullTensor;
using capture::PassCapture;
using capture::Tap;
using capture::Tier;

const std::vector<std::int32_t> kIds{72, 101, 75, 83, 99, 220, 86,  78, 81,
                                     75, 67,  3,  9,  27, 81,  243, 17};

std::vector<float> run(const std::shared_ptr<const model::Model>& model, Tier tier) {
  auto generator = cuda_generator(model, 160, false);
  generator.capture.tier = tier;
  std::vector<float> all;
  EXPECT_TRUE(generator.evaluate(kIds, false, {}).ok());
  all.insert(all.end(), generator.logits().begin(), generator.logits().end());
  for (int i = 0; i < 70; ++i) {  // past the first split of keys
    EXPECT_TRUE(generator.append(i, capture::Origin::kForced, {}).ok());
    all.insert(all.end(), generator.logits().begin(), generator.logits().end());
  }
  return all;
}

class GpuTiers : public ::testing::TestWithParam<std::string> {};

TEST_P(GpuTiers, Logits_AnyTier_SameBits) {
  LS_NEEDS_CUDA();
  const auto model = load(GetParam());
  const std::vector<float> off = run(model, Tier::kOff);
  for (const Tier tier : {Tier::kSummary, Tier::kAttention, Tier::kFull}) {
    const std::vector<float> logits = run(model, tier);
    ASSERT_EQ(logits.size(), off.size());
    EXPECT_EQ(0, std::memcmp(logits.data(), off.data(), off.size() * sizeof(float)))
        << static_cast<int>(tier);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GpuTiers,
                         ::testing::Values(golden("qwen2", "model.gguf"),
                                           golden("llama", "model.gguf"), demo_model()));

using Tensors = std::map<std::tuple<int, Tap, int>, FullTensor>;

/// Every tap of a prompt and three more tokens, and the statistics that came with them.
struct Everything {
  Tensors tensors;
  std::vector<PassCapture> passes;
};

Everything capture_all(session::Generator& generator, bool all_logits) {
  Everything out;
  generator.capture.tier = Tier::kFull;
  generator.on_pass = [&out](const PassCapture& pass, std::span<const float>) {
    for (const FullTensor& tensor : pass.tensors) {
      const bool fresh =
          out.tensors
              .emplace(std::tuple(static_cast<int>(out.passes.size()), tensor.tap, tensor.layer),
                       tensor)
              .second;
      EXPECT_TRUE(fresh) << "captured twice: " << capture::tap_name(tensor.tap);
    }
    out.passes.push_back(pass);
  };
  EXPECT_TRUE(generator.evaluate(kIds, all_logits, {}).ok());
  for (const std::int32_t id : {5, 99, 7}) {
    EXPECT_TRUE(generator.append(id, capture::Origin::kForced, {}).ok());
  }
  return out;
}

class GpuTaps : public ::testing::TestWithParam<std::tuple<const char*, bool>> {};

TEST_P(GpuTaps, EveryTap_AgreesWithCpu) {
  LS_NEEDS_CUDA();
  const auto [name, all_logits] = GetParam();
  const auto model = load(golden(name, "model.gguf"));
  auto cpu = make_generator(model, 64);
  auto gpu = cuda_generator(model, 64, true);
  const Everything expected = capture_all(cpu, all_logits);
  const Everything got = capture_all(gpu, all_logits);
  ASSERT_EQ(expected.tensors.size(), got.tensors.size());
  for (const auto& [key, tensor] : expected.tensors) {
    const auto it = got.tensors.find(key);
    const auto label = std::string(capture::tap_name(tensor.tap)) + " of layer " +
                       std::to_string(tensor.layer) + ", pass " + std::to_string(std::get<0>(key));
    ASSERT_NE(it, got.tensors.end()) << label;
    ASSERT_EQ(it->second.shape, tensor.shape) << label;
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      const float a = it->second.values[i];
      const float b = tensor.values[i];
      if (std::isinf(b)) {
        ASSERT_EQ(a, b) << label << " at " << i;
      } else {
        ASSERT_NEAR(a, b, 2e-5 * (1.0 + std::fabs(b))) << label << " at " << i;
      }
    }
  }
  for (std::size_t p = 0; p < expected.passes.size(); ++p) {
    const PassCapture& a = got.passes[p];
    const PassCapture& b = expected.passes[p];
    ASSERT_EQ(a.taps.size(), b.taps.size());
    for (std::size_t i = 0; i < a.taps.size(); ++i) {
      ASSERT_EQ(a.taps[i].count, b.taps[i].count) << "pass " << p << " slot " << i;
      ASSERT_EQ(a.taps[i].non_finite, b.taps[i].non_finite);
      ASSERT_NEAR(a.taps[i].l2, b.taps[i].l2, 1e-4 * (1.0 + std::fabs(b.taps[i].l2)));
      ASSERT_NEAR(a.taps[i].absmax, b.taps[i].absmax, 2e-5 * (1.0 + b.taps[i].absmax));
      ASSERT_NEAR(a.taps[i].mean, b.taps[i].mean, 1e-4);
    }
    ASSERT_EQ(a.heads.size(), b.heads.size());
    for (std::size_t i = 0; i < a.heads.size(); ++i) {
      ASSERT_NEAR(a.heads[i].row_sum, 1.0F, 1e-5F);
      ASSERT_NEAR(a.heads[i].entropy, b.heads[i].entropy, 1e-4);
      ASSERT_NEAR(a.heads[i].max, b.heads[i].max, 1e-5);
      ASSERT_NEAR(a.heads[i].first, b.heads[i].first, 1e-5);
      ASSERT_NEAR(a.heads[i].self, b.heads[i].self, 1e-5);
      ASSERT_NEAR(a.heads[i].lse, b.heads[i].lse, 1e-4 * (1.0 + std::fabs(b.heads[i].lse)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GpuTaps,
                         ::testing::Combine(::testing::Values("qwen2", "llama", "llama3",
                                                              "qwen2-q8_0"),
                                            ::testing::Bool()));

// A captured row comes from the scores of the fused path (decode) or of the product (prefill); a
// recomputed one from the caches. In float32 they differ by rounding alone; the F16 cache rounds
// keys before both in decode, and in prefill as well, since its products read the cache.
TEST(GpuAttention, CapturedRows_EqualRecomputedRows) {
  LS_NEEDS_CUDA();
  const auto model = load(demo_model());
  for (const bool float32 : {true, false}) {
    auto generator = cuda_generator(model, 256, float32);
    generator.capture.tier = Tier::kAttention;
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 100; ++i) {
      ids.push_back(i * 31 % 500);
    }
    ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(generator.append(i, capture::Origin::kForced, {}).ok());
    }
    double largest = 0.0;
    for (const int position : {0, 1, 63, 64, 99, 100, 127, 128, 139}) {
      const auto& frame = *generator.frames()[static_cast<std::size_t>(position)];
      for (int layer = 0; layer < model->spec.n_layers; ++layer) {
        for (int h = 0; h < model->spec.n_heads; ++h) {
          std::vector<float> row(static_cast<std::size_t>(position) + 1), again(row.size());
          ASSERT_TRUE(generator.backend().captured_row(frame, layer, h, row).ok());
          generator.backend().attention_row(layer, h, position, again);
          largest = std::max(largest, largest_difference(row, again));
        }
      }
    }
    std::printf("captured and recomputed rows differ by %.2e (%s)\n", largest,
                float32 ? "float32" : "F16 cache");
    EXPECT_LE(largest, 2e-6);
  }
}

// What reaches the host of rows that stay on the GPU: pooled cells of every head, one followed row.
TEST(GpuAttention, PooledCellsAndFollowedRow_AreThoseOfTheRows) {
  LS_NEEDS_CUDA();
  const auto model = load(demo_model());
  auto generator = cuda_generator(model, 256, false);
  generator.capture.tier = Tier::kAttention;
  generator.capture.follow_layer = model->spec.n_layers - 1;
  generator.capture.follow_head = 1;
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 100; ++i) {
    ids.push_back(i * 31 % 500);
  }
  ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(generator.append(i, capture::Origin::kForced, {}).ok());
  }
  for (const int position : {0, 1, 63, 64, 99, 100, 127, 128, 159}) {
    const auto& frame = *generator.frames()[static_cast<std::size_t>(position)];
    ASSERT_NE(frame.attention, nullptr);
    const capture::PooledRows& pooled = frame.attention->pooled();
    ASSERT_EQ(pooled.bins, capture::pooled_bins(frame.n_layers, frame.n_heads));
    ASSERT_EQ(pooled.width, capture::pooled_width(position + 1, pooled.bins));
    for (int layer = 0; layer < frame.n_layers; ++layer) {
      for (int h = 0; h < frame.n_heads; ++h) {
        std::vector<float> row(static_cast<std::size_t>(position) + 1);
        ASSERT_TRUE(generator.backend().captured_row(frame, layer, h, row).ok());
        const auto host = frame.attention_row(layer, h);
        const bool followed = position >= 100 && layer == frame.n_layers - 1 && h == 1;
        ASSERT_EQ(host.size(), followed ? row.size() : 0U);
        if (followed) {
          EXPECT_EQ(0, std::memcmp(host.data(), row.data(), host.size_bytes()));
        }
        for (int b = 0; b < pooled.bins; ++b) {
          float best = 0.0F;
          for (int k = b * pooled.width; k <= std::min(position, (b + 1) * pooled.width - 1); ++k) {
            best = std::max(best, row[static_cast<std::size_t>(k)]);
          }
          const auto at = static_cast<std::size_t>((layer * frame.n_heads + h) * pooled.bins + b);
          ASSERT_NEAR(capture::PooledRows::root_of(pooled.cells[at]), std::sqrt(best),
                      0.51F / 254.0F)
              << "position " << position << " layer " << layer << " head " << h << " bin " << b;
        }
      }
    }
  }
}

TEST(GpuAttention, RowsBeyondTheirMemory_OldestAreDropped_NewestStay) {
  LS_NEEDS_CUDA();
  const auto model = load(demo_model());
  backend::BackendOptions options{"cuda", 1, 256};
  options.row_memory = 1;
  auto backend = backend::create_backend(model, options);
  ASSERT_TRUE(backend.ok()) << backend.error().message;
  session::Generator generator(model, std::move(backend).value());
  generator.capture.tier = Tier::kAttention;
  ASSERT_TRUE(generator.evaluate(std::vector<std::int32_t>(90, 7), false, {}).ok());
  const auto held = generator.frames().back();  // as a window holds a frame
  std::vector<float> before(90), after(90);
  if (held->attention->has_rows()) {
    ASSERT_TRUE(generator.backend().captured_row(*held, 0, 0, before).ok());
  }
  generator.ahead = 3;
  for (int i = 0; i < 100; ++i) {
    const auto id = generator.choose();
    ASSERT_TRUE(id.ok());
    ASSERT_TRUE(generator.append(id.value(), capture::Origin::kSampled, {}).ok());
    ASSERT_LE(generator.attention_bytes(), generator.backend().row_capacity());
    EXPECT_FALSE(generator.frames().back()->attention->pooled().cells.empty());
  }
  EXPECT_GT(generator.history().without_rows(), 0);
  EXPECT_TRUE(generator.frames().back()->attention->has_rows());
  if (held->attention->has_rows()) {
    ASSERT_TRUE(generator.backend().captured_row(*held, 0, 0, after).ok());
    EXPECT_EQ(before, after);
  }
  std::vector<float> row(10);
  EXPECT_FALSE(generator.backend().captured_row(*generator.frames()[9], 0, 0, row).ok());
}

// The GPU's summary of a distribution, the host's of the same logits, and what follows from them.
TEST(GpuSummary, Distribution_EqualsHostSummary) {
  LS_NEEDS_CUDA();
  for (const std::string& path : {golden("qwen2", "model.gguf"), demo_model()}) {
    const auto model = load(path);
    auto generator = cuda_generator(model, 128, false);
    const session::Sampler sampler(model->usable_rows());
    ASSERT_TRUE(generator.evaluate(kIds, false, {}).ok());
    for (int i = 0; i < 20; ++i) {
      const capture::LogitSummary got = generator.summary();
      const auto greedy_id = generator.choose();
      ASSERT_TRUE(greedy_id.ok());
      const capture::Choice quick =
          generator.describe(greedy_id.value(), capture::Origin::kSampled);
      const capture::LogitSummary expected = sampler.summarize(generator.logits());
      const capture::Choice slow = sampler.describe(generator.logits(), greedy_id.value(),
                                                    capture::Origin::kSampled, expected);
      ASSERT_EQ(got.top.size(), expected.top.size());
      for (std::size_t k = 0; k < got.top.size(); ++k) {
        EXPECT_EQ(got.top[k].id, expected.top[k].id);
        EXPECT_EQ(got.top[k].logit, expected.top[k].logit);
        EXPECT_NEAR(got.top[k].prob, expected.top[k].prob, 1e-7);
      }
      EXPECT_EQ(got.best_padded.id, expected.best_padded.id);
      EXPECT_EQ(got.best_padded.logit, expected.best_padded.logit);
      EXPECT_EQ(got.raw_argmax, expected.raw_argmax);
      EXPECT_EQ(got.min, expected.min);
      EXPECT_EQ(got.max, expected.max);
      EXPECT_EQ(got.non_finite, expected.non_finite);
      EXPECT_NEAR(got.mean, expected.mean, 1e-6);
      EXPECT_NEAR(got.lse, expected.lse, 1e-9);
      EXPECT_NEAR(got.entropy, expected.entropy, 1e-6);
      EXPECT_EQ(quick.rank, slow.rank);
      EXPECT_EQ(quick.logit, slow.logit);
      EXPECT_NEAR(quick.logprob, slow.logprob, 1e-6);
      const bool forced = i % 3 == 0;
      ASSERT_TRUE(generator
                      .append(forced ? i : greedy_id.value(),
                              forced ? capture::Origin::kForced : capture::Origin::kSampled, {})
                      .ok());
      EXPECT_TRUE(generator.frames().back()->choice.known);
    }
  }
}

TEST(GpuCapture, LayersAndTaps_OnlyChosenOnes_AreKept) {
  LS_NEEDS_CUDA();
  auto generator = cuda_generator(load(golden("llama", "model.gguf")), 32, false);
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
  ASSERT_TRUE(generator.append(3, capture::Origin::kForced, {}).ok());
  EXPECT_EQ(n, 2);
}

}  // namespace
}  // namespace layerscope::testing

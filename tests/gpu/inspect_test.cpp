// Looking without touching, on the GPU: against the CPU backend, and against the run itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/gpu/cuda_generator.h"

namespace layerscope::testing {
namespace {

using capture::Tap;
using capture::Tier;
using model::InterventionKind;

constexpr int kContext = 96;

std::string path_of(const std::string& name) {
  return name == "demo" ? demo_model() : golden(name, "model.gguf");
}

std::vector<std::int32_t> some_ids(const model::Model& loaded, int n) {
  std::vector<std::int32_t> ids;
  ids.reserve(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    ids.push_back((i * 37 + 5) % loaded.tokenizer->n_tokens());
  }
  return ids;
}

capture::Request full() {
  capture::Request request;
  request.tier = Tier::kFull;
  return request;
}

class GpuInspect : public ::testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  [[nodiscard]] std::string name() const { return std::get<0>(GetParam()); }
  [[nodiscard]] bool float32() const { return std::get<1>(GetParam()); }
  [[nodiscard]] std::shared_ptr<const model::Model> loaded() const { return load(path_of(name())); }
};

TEST_P(GpuInspect, EveryTensorOfAToken_AgreesWithCpu) {
  LS_NEEDS_CUDA();
  const auto model = loaded();
  const auto ids = some_ids(*model, 21);
  auto cpu = make_generator(model, kContext);
  auto gpu = cuda_generator(model, kContext, float32());
  ASSERT_TRUE(cpu.evaluate(ids, false, {}).ok());
  ASSERT_TRUE(gpu.evaluate(ids, false, {}).ok());
  double worst = 0.0;
  for (const int position : {0, 7, 20}) {
    capture::PassCapture expected;
    capture::PassCapture got;
    ASSERT_TRUE(cpu.inspect(position, full(), {}, expected).ok());
    const Status status = gpu.inspect(position, full(), {}, got);
    ASSERT_TRUE(status.ok()) << status.error().message;
    ASSERT_EQ(expected.tensors.size(), got.tensors.size());
    for (const capture::FullTensor& tensor : expected.tensors) {
      const auto same = std::find_if(got.tensors.begin(), got.tensors.end(), [&](const auto& t) {
        return t.tap == tensor.tap && t.layer == tensor.layer;
      });
      ASSERT_NE(same, got.tensors.end());
      ASSERT_EQ(same->shape, tensor.shape);
      float top = 1.0F;
      for (const float v : tensor.values) {
        top = std::isfinite(v) ? std::max(top, std::fabs(v)) : top;
      }
      const double difference = largest_difference(same->values, tensor.values);
      worst = std::max(worst, difference / static_cast<double>(top));
      EXPECT_LE(difference, (float32() ? 1e-4 : 2e-2) * static_cast<double>(top))
          << capture::tap_name(tensor.tap) << " of layer " << tensor.layer << " at " << position;
    }
  }
  std::printf("%s, %s: a token looked at again differs from the CPU by %.2e\n", name().c_str(),
              float32() ? "float32" : "F16 cache", worst);
}

/// Looking at every step, at any token, changes neither a cache nor a logit nor what comes next.
TEST_P(GpuInspect, AtEveryStep_ChangesNoBit_AlsoAheadAndUnderCacheFaults) {
  LS_NEEDS_CUDA();
  const auto model = loaded();
  const auto ids = some_ids(*model, 9);
  for (const model::Interventions& faults :
       {model::Interventions{},
        model::Interventions{{InterventionKind::kKvStuck, -1, -1, -1, 0.0, {}}},
        model::Interventions{{InterventionKind::kKvOffByOne, -1, -1, -1, 0.0, {}}}}) {
    std::vector<std::int32_t> tokens[2];
    std::vector<float> logits[2];
    std::vector<float> slots[2];
    for (const int looking : {0, 1}) {
      auto gpu = cuda_generator(model, kContext, float32());
      gpu.sampler_settings.temperature = 0.0F;
      ASSERT_TRUE(gpu.set_interventions(faults).ok());
      ASSERT_TRUE(gpu.evaluate(ids, false, {}).ok());
      for (int step = 0; step < 12; ++step) {
        gpu.ahead = 12 - step;
        if (looking == 1) {
          capture::PassCapture unused;
          const int n = static_cast<int>(gpu.ids().size());
          ASSERT_TRUE(gpu.inspect(step * 5 % n, full(), {}, unused).ok());
          ASSERT_TRUE(gpu.inspect(n - 1, full(), {}, unused).ok());
          std::vector<float> lens(static_cast<std::size_t>(model->spec.hidden), 0.25F);
          std::vector<float> through;
          ASSERT_TRUE(gpu.head_logits(lens, through).ok());
        }
        if (step % 4 == 0) {
          logits[looking].insert(logits[looking].end(), gpu.logits().begin(), gpu.logits().end());
        }
        const auto id = gpu.choose();
        ASSERT_TRUE(id.ok());
        tokens[looking].push_back(id.value());
        ASSERT_TRUE(gpu.append(id.value(), capture::Origin::kSampled, {}).ok());
      }
      for (int layer = 0; layer < model->spec.n_layers; ++layer) {
        for (int slot = 0; slot < gpu.backend().kv_len(); ++slot) {
          std::vector<float> key;
          std::vector<float> value;
          ASSERT_TRUE(gpu.backend().cache_slot(layer, 0, slot, key, value).ok());
          slots[looking].insert(slots[looking].end(), key.begin(), key.end());
          slots[looking].insert(slots[looking].end(), value.begin(), value.end());
        }
      }
    }
    EXPECT_EQ(tokens[0], tokens[1]);
    ASSERT_EQ(logits[0].size(), logits[1].size());
    EXPECT_EQ(0, std::memcmp(logits[0].data(), logits[1].data(), logits[0].size() * sizeof(float)));
    ASSERT_EQ(slots[0].size(), slots[1].size());
    EXPECT_EQ(0, std::memcmp(slots[0].data(), slots[1].data(), slots[0].size() * sizeof(float)));
  }
}

TEST_P(GpuInspect, HeadOfAnyResidual_AgreesWithCpu_AndTheLastIsTheAnswer) {
  LS_NEEDS_CUDA();
  const auto model = loaded();
  const auto ids = some_ids(*model, 13);
  auto cpu = make_generator(model, kContext);
  auto gpu = cuda_generator(model, kContext, float32());
  ASSERT_TRUE(cpu.evaluate(ids, false, {}).ok());
  ASSERT_TRUE(gpu.evaluate(ids, false, {}).ok());
  const std::vector<float> answer(gpu.logits().begin(), gpu.logits().end());
  capture::PassCapture pass;
  ASSERT_TRUE(gpu.inspect(12, full(), {}, pass).ok());
  std::vector<float> residual;
  const auto add = [&](Tap tap, int layer) {
    for (const capture::FullTensor& tensor : pass.tensors) {
      if (tensor.tap == tap && tensor.layer == layer) {
        residual.insert(residual.end(), tensor.values.begin(), tensor.values.end());
      }
    }
  };
  add(Tap::kEmbedding, -1);
  for (int layer = 0; layer < model->spec.n_layers; ++layer) {
    add(Tap::kResidOut, layer);
  }
  const auto rows = static_cast<std::size_t>(model->spec.n_layers) + 1;
  ASSERT_EQ(residual.size(), rows * static_cast<std::size_t>(model->spec.hidden));
  // More rows than one product takes.
  const std::vector<float> once = residual;
  while (residual.size() < 150 * static_cast<std::size_t>(model->spec.hidden)) {
    residual.insert(residual.end(), once.begin(), once.end());
  }
  std::vector<float> got;
  std::vector<float> expected;
  ASSERT_TRUE(cpu.head_logits(residual, expected).ok());
  const Status status = gpu.head_logits(residual, got);
  ASSERT_TRUE(status.ok()) << status.error().message;
  const double bound = float32() ? 1e-4 : 2e-2;
  const double difference = largest_difference(got, expected);
  const auto vocab = static_cast<std::size_t>(model->spec.vocab_rows);
  const std::span<const float> last = std::span(got).subspan((rows - 1) * vocab, vocab);
  const double from_answer = largest_difference(last, answer);
  std::printf("%s, %s: lens %.2e from the CPU, its last row %.2e from the logits\n", name().c_str(),
              float32() ? "float32" : "F16 cache", difference, from_answer);
  EXPECT_LE(difference, bound);
  EXPECT_LE(from_answer, bound);
  // What the GPU says of every row is what the host makes of its logits.
  const auto lens = gpu.lens(residual, {});
  ASSERT_TRUE(lens.ok()) << lens.error().message;
  std::vector<backend::LensSummary> direct;
  const auto summarised =
      const_cast<backend::Backend&>(gpu.backend()).lens(residual, direct);  // NOLINT
  ASSERT_TRUE(summarised.ok() && summarised.value()) << "the host has done the GPU's work";
  ASSERT_EQ(lens.value().size(), residual.size() / static_cast<std::size_t>(model->spec.hidden));
  const std::int32_t answer_id =
      gpu.summarize(std::span(got).subspan(got.size() - vocab, vocab)).top.front().id;
  for (std::size_t r = 0; r < lens.value().size(); ++r) {
    const std::span<const float> row = std::span(got).subspan(r * vocab, vocab);
    const capture::LogitSummary host = gpu.summarize(row);
    const backend::LensSummary& device = lens.value()[r];
    ASSERT_EQ(device.summary.top.size(), host.top.size());
    for (std::size_t i = 0; i < host.top.size(); ++i) {
      ASSERT_EQ(device.summary.top[i].id, host.top[i].id) << "row " << r << " place " << i;
      ASSERT_EQ(device.summary.top[i].logit, host.top[i].logit);
    }
    ASSERT_NEAR(device.summary.lse, host.lse, 1e-5);
    ASSERT_NEAR(device.summary.entropy, host.entropy, 1e-4);
    const float logit = row[static_cast<std::size_t>(answer_id)];
    ASSERT_EQ(device.final_logit, logit);
    ASSERT_EQ(device.final_rank,
              std::count_if(row.begin(), row.end(), [logit](float v) { return v > logit; }));
  }
  std::vector<float> wrong(static_cast<std::size_t>(model->spec.hidden) + 1);
  EXPECT_FALSE(gpu.head_logits(wrong, got).ok());
}

TEST_P(GpuInspect, Cache_AgreesWithCpu_StaleZeroAndNanSlotsAreTold) {
  LS_NEEDS_CUDA();
  const auto model = loaded();
  const auto ids = some_ids(*model, 11);
  auto cpu = make_generator(model, kContext);
  auto gpu = cuda_generator(model, kContext, float32());
  const double bound = float32() ? 1e-4 : 1e-2;
  for (session::Generator* generator : {&cpu, &gpu}) {
    // Slots 9 and 10 are left behind.
    ASSERT_TRUE(generator->evaluate(ids, false, {}).ok());
    ASSERT_TRUE(generator->rewind(8, {}).ok());
  }
  const auto expected = cpu.backend().cache_stats();
  const auto got = gpu.backend().cache_stats();
  ASSERT_TRUE(expected.ok());
  ASSERT_TRUE(got.ok()) << got.error().message;
  const capture::CacheStats& a = got.value();
  const capture::CacheStats& b = expected.value();
  EXPECT_EQ(a.kv_len, b.kv_len);
  EXPECT_EQ(a.kv_len, 9);
  EXPECT_EQ(a.n_slots, b.n_slots);
  EXPECT_EQ(a.n_slots, 11);
  EXPECT_EQ(a.context, b.context);
  ASSERT_EQ(a.slots.size(), b.slots.size());
  for (std::size_t i = 0; i < a.slots.size(); ++i) {
    ASSERT_NEAR(a.slots[i].k_l2, b.slots[i].k_l2, bound * (1.0 + b.slots[i].k_l2)) << i;
    ASSERT_NEAR(a.slots[i].v_l2, b.slots[i].v_l2, bound * (1.0 + b.slots[i].v_l2)) << i;
    ASSERT_EQ(a.slots[i].non_finite, 0U);
    ASSERT_EQ(a.slots[i].zero, b.slots[i].zero);
  }
  std::vector<float> key[2];
  std::vector<float> value[2];
  const int layer = model->spec.n_layers - 1;
  const int head = model->spec.n_kv_heads - 1;
  ASSERT_TRUE(gpu.backend().cache_slot(layer, head, 5, key[0], value[0]).ok());
  ASSERT_TRUE(cpu.backend().cache_slot(layer, head, 5, key[1], value[1]).ok());
  EXPECT_LE(largest_difference(key[0], key[1]), bound * (1.0 + a.at(layer, head, 5).k_l2));
  EXPECT_LE(largest_difference(value[0], value[1]), bound * (1.0 + a.at(layer, head, 5).v_l2));
  double squares = 0.0;
  for (const float v : key[0]) {
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  EXPECT_NEAR(std::sqrt(squares), a.at(layer, head, 5).k_l2, 1e-5 * (1.0 + std::sqrt(squares)));
  EXPECT_FALSE(gpu.backend().cache_slot(layer, head, kContext, key[0], value[0]).ok());
  EXPECT_FALSE(gpu.backend().cache_slot(-1, head, 0, key[0], value[0]).ok());

  // A slot that reads as zero, and NaN from layer 1 on.
  for (session::Generator* generator : {&cpu, &gpu}) {
    generator->reset();
    ASSERT_TRUE(generator
                    ->set_interventions({{InterventionKind::kKvOffByOne, -1, -1, -1, 0.0, {}},
                                         {InterventionKind::kNan, 0, -1, -1, 0.0, {}}})
                    .ok());
    ASSERT_TRUE(generator->evaluate(ids, false, {}).ok());
  }
  const auto faulty = gpu.backend().cache_stats();
  const auto oracle = cpu.backend().cache_stats();
  ASSERT_TRUE(faulty.ok() && oracle.ok());
  ASSERT_EQ(faulty.value().n_slots, oracle.value().n_slots);
  ASSERT_EQ(faulty.value().slots.size(), oracle.value().slots.size());
  std::size_t zeros = 0;
  std::size_t non_finite = 0;
  for (std::size_t i = 0; i < oracle.value().slots.size(); ++i) {
    ASSERT_EQ(faulty.value().slots[i].non_finite, oracle.value().slots[i].non_finite) << i;
    ASSERT_EQ(faulty.value().slots[i].zero, oracle.value().slots[i].zero) << i;
    zeros += faulty.value().slots[i].zero ? 1U : 0U;
    non_finite += faulty.value().slots[i].non_finite;
  }
  EXPECT_GT(non_finite, 0U);
  std::printf("%s, %s: %zu of %zu slots zero, %zu values not finite, as on the CPU\n",
              name().c_str(), float32() ? "float32" : "F16 cache", zeros,
              oracle.value().slots.size(), non_finite);
}

INSTANTIATE_TEST_SUITE_P(Models, GpuInspect,
                         ::testing::Combine(::testing::Values("demo", "qwen2", "llama"),
                                            ::testing::Bool()));

TEST(GpuInspectLimits, PositionOutsideTheCache_IsRefused) {
  LS_NEEDS_CUDA();
  auto gpu = cuda_generator(load(demo_model()), 32, false);
  ASSERT_TRUE(gpu.evaluate(std::vector<std::int32_t>{1, 2, 3}, false, {}).ok());
  capture::PassCapture unused;
  EXPECT_FALSE(gpu.inspect(3, full(), {}, unused).ok());
  EXPECT_FALSE(gpu.inspect(-1, full(), {}, unused).ok());
}

}  // namespace
}  // namespace layerscope::testing

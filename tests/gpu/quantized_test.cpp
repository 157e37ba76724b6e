// Quantised models on the GPU: resident as blocks, against the CPU and the reference's logits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>

#include "tests/gpu/cuda_generator.h"

namespace layerscope::testing {
namespace {

constexpr int kContext = 256;

/// The models are not in the repository, except qwen2-q8_0.
class GpuQuantized : public ::testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] static std::string file(const std::string& name) {
    return any_golden(GetParam(), name);
  }
  [[nodiscard]] static std::vector<std::int32_t> ids(const std::string& prompt) {
    return read_json(file("tokens-" + prompt + ".json")).at("ids").get<std::vector<std::int32_t>>();
  }
};

#define LS_NEEDS_MODEL()                                                       \
  LS_NEEDS_CUDA();                                                             \
  if (!std::filesystem::exists(file("model.gguf"))) {                          \
    GTEST_SKIP() << file("model.gguf") << " is not there (set LS_SHARED_DIR)"; \
  }

double divergence(std::span<const float> reference, std::span<const float> other) {
  const auto log_sum = [](std::span<const float> v) {
    double top = -INFINITY;
    for (const float x : v) {
      top = std::max(top, static_cast<double>(x));
    }
    double sum = 0.0;
    for (const float x : v) {
      sum += std::exp(static_cast<double>(x) - top);
    }
    return top + std::log(sum);
  };
  const double a = log_sum(reference);
  const double b = log_sum(other);
  double kl = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double p = static_cast<double>(reference[i]) - a;
    kl += std::exp(p) * (p - (static_cast<double>(other[i]) - b));
  }
  return kl;
}

// Fixed-point activations of 23 bits are as good as float32: the CPU's own 1e-4.
TEST_P(GpuQuantized, Logits_Float32_AgreeWithTheExpandedReference) {
  LS_NEEDS_MODEL();
  const auto loaded = load(file("model.gguf"));
  for (const std::string prompt : {"short", "long"}) {
    const auto expected = read_floats(file("logits-" + prompt + "-dequantised.f32"));
    auto prefill = cuda_generator(loaded, kContext, true);
    ASSERT_TRUE(prefill.evaluate(ids(prompt), false, {}).ok());
    const double in_prefill = largest_difference(prefill.logits(), expected);
    auto decode = cuda_generator(loaded, kContext, true);
    for (const std::int32_t id : ids(prompt)) {
      ASSERT_TRUE(decode.append(id, capture::Origin::kForced, {}).ok());
    }
    const double in_decode = largest_difference(decode.logits(), expected);
    std::printf("%s %s: largest difference of a logit %.2e (prefill), %.2e (decode)\n", GetParam(),
                prompt.c_str(), in_prefill, in_decode);
    EXPECT_LE(in_prefill, 1e-4);
    EXPECT_LE(in_decode, 1e-4);
  }
}

TEST_P(GpuQuantized, Greedy_EqualsTheExpandedReference) {
  LS_NEEDS_MODEL();
  const auto loaded = load(file("model.gguf"));
  for (const std::string prompt : {"short", "long"}) {
    auto generator = cuda_generator(loaded, kContext, false);
    ASSERT_TRUE(generator.evaluate(ids(prompt), false, {}).ok());
    // The reference lets padding take part, our sampler does not: the arg-max of all rows.
    for (const auto& id : read_json(file("greedy-dequantised.json")).at(prompt).at("ids")) {
      const auto& logits = generator.logits();
      ASSERT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(),
                id.get<std::int32_t>())
          << prompt;
      ASSERT_TRUE(generator.append(id.get<std::int32_t>(), capture::Origin::kForced, {}).ok());
    }
  }
}

// F16 caches, and F16 weights and activations in prefill. Seen: 1.4e-6 to 2.9e-6 nats; the bound is
// ten times that.
TEST_P(GpuQuantized, Distribution_F16_StaysWithinItsBound) {
  LS_NEEDS_MODEL();
  const auto loaded = load(file("model.gguf"));
  auto generator = cuda_generator(loaded, kContext, false);
  ASSERT_TRUE(generator.evaluate(ids("long"), false, {}).ok());
  const auto expected = read_floats(file("logits-long-dequantised.f32"));
  const double kl = divergence(expected, generator.logits());
  std::printf("%s: KL divergence %.2e nats, largest difference %.2e\n", GetParam(), kl,
              largest_difference(generator.logits(), expected));
  EXPECT_LE(kl, 3e-5);
}

INSTANTIATE_TEST_SUITE_P(Types, GpuQuantized,
                         ::testing::Values("qwen2-q4_0", "qwen2-q5_0", "qwen2-q8_0", "qwen2-q4_k_m",
                                           "qwen2-q5_k_m", "qwen2-q6_k"));

}  // namespace
}  // namespace layerscope::testing

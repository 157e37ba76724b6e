// Every architecture on the CUDA backend: against its golden, the CPU and itself. A line per model
// tells the largest difference of every tap.
//
// Oracles: the CPU backend tap by tap, transformers' results for the tiny models, llama.cpp's for
// the others (1e-2 where the reference rounds GELU to float16, tests/golden/logits_test.cpp).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "tests/gpu/cuda_generator.h"
#include "tests/support/architecture_table.h"

namespace layerscope::testing {
namespace {

using capture::FullTensor;
using capture::PassCapture;
using capture::Tap;
using capture::Tier;

/// A model of some architecture with what a reference computed for it.
struct Subject {
  std::string name;
  std::string path;
  bool tiny = false;
};

std::ostream& operator<<(std::ostream& out, const Subject& subject) { return out << subject.path; }

std::vector<Subject> subjects() {
  std::vector<Subject> list;
  for (const std::string& name : tiny_models()) {
    list.push_back({name, testing::tiny(name, "model.gguf"), true});
  }
  for (const std::string& name : golden_models()) {
    list.push_back({name, any_golden(name, "model.gguf"), false});
  }
  return list;
}

std::string subject_name(const ::testing::TestParamInfo<Subject>& info) {
  std::string name = (info.param.tiny ? "tiny_" : "golden_") + info.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

class GpuArchitecture : public ::testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    LS_NEEDS_CUDA();
    if (const std::string type = undecodable_type(GetParam().path); !type.empty()) {
      GTEST_SKIP() << "a type that nothing computes with: " << type;
    }
    model_ = load(GetParam().path);
    context_ = std::min(128, model_->spec.train_context);
    if (GetParam().tiny) {
      const TinyReference reference = tiny_reference(GetParam().name);
      ids_ = reference.prompt;
      const auto& two = reference.blocks.at("logits");  // of the last two tokens
      logits_.assign(two.end() - static_cast<std::ptrdiff_t>(two.size() / 2), two.end());
      greedy_ = reference.greedy;
      tolerance_ = 2e-4;
    } else {
      const std::string& name = GetParam().name;
      const bool expanded =
          std::filesystem::exists(any_golden(name, "logits-long-dequantised.f32"));
      const std::string suffix = expanded ? "-dequantised" : "";
      ids_ = read_json(any_golden(name, "tokens-long.json")).at("ids").get<Ids>();
      logits_ = read_floats(any_golden(name, "logits-long" + suffix + ".f32"));
      greedy_ =
          read_json(any_golden(name, "greedy" + suffix + ".json")).at("long").at("ids").get<Ids>();
      const bool gelu = model_->spec.activation == kernels::Activation::kGeluTanh;
      tolerance_ = gelu ? 1e-2 : 1e-4;
    }
    context_ = std::max(context_, static_cast<int>(ids_.size() + greedy_.size()) + 8);
  }

  using Ids = std::vector<std::int32_t>;
  std::shared_ptr<const model::Model> model_;
  int context_ = 0;
  Ids ids_;
  std::vector<float> logits_;
  Ids greedy_;
  double tolerance_ = 0.0;
};

/// Logits after every token, one by one.
std::vector<float> decoded(session::Generator& generator, std::span<const std::int32_t> ids) {
  std::vector<float> all;
  for (const std::int32_t id : ids) {
    EXPECT_TRUE(generator.append(id, capture::Origin::kForced, {}).ok());
    all.insert(all.end(), generator.logits().begin(), generator.logits().end());
  }
  return all;
}

TEST_P(GpuArchitecture, Logits_AgreeWithReference_DecodeWithPrefill) {
  auto prefill = cuda_generator(model_, context_, true);
  ASSERT_TRUE(prefill.evaluate(ids_, false, {}).ok());
  const double in_prefill = largest_difference(prefill.logits(), logits_);
  auto one_by_one = cuda_generator(model_, context_, true);
  const auto all = decoded(one_by_one, ids_);
  const double in_decode = largest_difference(std::span(all).last(logits_.size()), logits_);
  auto half = cuda_generator(model_, context_, false);
  ASSERT_TRUE(half.evaluate(ids_, true, {}).ok());
  const double with_half = largest_difference(half.logits(), logits_);
  const auto [low, high] = std::minmax_element(logits_.begin(), logits_.end());
  fmt::print("{:18} {:8} {:12} prefill {:.1e}  decode {:.1e}  F16 cache {:.1e}\n", GetParam().name,
             model_->quantization(), model_->spec.architecture, in_prefill, in_decode, with_half);
  EXPECT_LE(in_prefill, tolerance_);
  EXPECT_LE(in_decode, tolerance_);
  // Keys, values and, in prefill, activations rounded to float16; a mistake is a tenth and more.
  EXPECT_LE(with_half, 3e-2 * static_cast<double>(*high - *low));
}

TEST_P(GpuArchitecture, Greedy_Continuation_EqualsReference) {
  auto generator = cuda_generator(model_, context_, true);
  ASSERT_TRUE(generator.evaluate(ids_, false, {}).ok());
  Ids mine;
  while (mine.size() < greedy_.size()) {  // the references take rows that no text produces, too
    const auto logits = generator.logits();
    mine.push_back(
        static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    ASSERT_TRUE(generator.append(mine.back(), capture::Origin::kForced, {}).ok());
  }
  EXPECT_EQ(mine, greedy_);
}

using Tensors = std::map<std::tuple<int, Tap, int>, FullTensor>;

/// Every tap of a prompt and of three more tokens, and the statistics that came with them.
struct Everything {
  Tensors tensors;
  std::vector<PassCapture> passes;
};

Everything capture_all(session::Generator& generator, std::span<const std::int32_t> ids) {
  Everything out;
  generator.capture.tier = Tier::kFull;
  generator.on_pass = [&out](const PassCapture& pass, std::span<const float>) {
    for (const FullTensor& tensor : pass.tensors) {
      const std::tuple key(static_cast<int>(out.passes.size()), tensor.tap, tensor.layer);
      EXPECT_TRUE(out.tensors.emplace(key, tensor).second) << capture::tap_name(tensor.tap);
    }
    out.passes.push_back(pass);
  };
  EXPECT_TRUE(generator.evaluate(ids.first(ids.size() - 3), true, {}).ok());
  for (const std::int32_t id : ids.last(3)) {
    EXPECT_TRUE(generator.append(id, capture::Origin::kForced, {}).ok());
  }
  return out;
}

/// Largest difference relative to the largest value, at least 1; infinities must stand at the same
/// places.
double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double top = 1.0;
  double error = a.size() == b.size() ? 0.0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (std::isinf(b[i]) || std::isnan(a[i])) {
      error = a[i] == b[i] ? error : INFINITY;
      continue;
    }
    top = std::max(top, std::fabs(static_cast<double>(b[i])));
    error = std::max(error, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return error / top;
}

TEST_P(GpuArchitecture, EveryTap_AgreesWithCpu) {
  auto cpu = make_generator(model_, context_);
  auto gpu = cuda_generator(model_, context_, true);
  const Everything expected = capture_all(cpu, ids_);
  const Everything got = capture_all(gpu, ids_);
  std::map<Tap, double> worst;
  for (const auto& [key, tensor] : expected.tensors) {
    const auto it = got.tensors.find(key);
    const std::string label = fmt::format("{} of layer {}, pass {}", capture::tap_name(tensor.tap),
                                          tensor.layer, std::get<0>(key));
    ASSERT_NE(it, got.tensors.end()) << label;
    EXPECT_EQ(it->second.shape, tensor.shape) << label;
    const double difference = relative_difference(it->second.values, tensor.values);
    worst[tensor.tap] = std::max(worst[tensor.tap], difference);
    EXPECT_LE(difference, 3e-5) << label;
  }
  EXPECT_EQ(expected.tensors.size(), got.tensors.size());
  std::string line = fmt::format("{:18}", GetParam().name);
  for (const auto& [tap, difference] : worst) {
    line += fmt::format(" {} {:.0e}", capture::tap_name(tap), difference);
  }
  fmt::print("{}\n", line);
  for (std::size_t p = 0; p < expected.passes.size(); ++p) {
    const PassCapture& a = got.passes[p];
    const PassCapture& b = expected.passes[p];
    ASSERT_EQ(a.taps.size(), b.taps.size());
    for (std::size_t i = 0; i < a.taps.size(); ++i) {
      const std::string label = fmt::format(
          "pass {}, {} of row {}", p, capture::tap_name(static_cast<Tap>(i % capture::kNumTaps)),
          i / capture::kNumTaps);
      ASSERT_EQ(a.taps[i].count, b.taps[i].count) << label;
      ASSERT_EQ(a.taps[i].non_finite, b.taps[i].non_finite) << label;
      ASSERT_NEAR(a.taps[i].l2, b.taps[i].l2, 1e-4 * (1.0 + std::fabs(b.taps[i].l2))) << label;
      ASSERT_NEAR(a.taps[i].absmax, b.taps[i].absmax, 5e-5 * (1.0 + b.taps[i].absmax)) << label;
    }
    ASSERT_EQ(a.heads.size(), b.heads.size());
    for (std::size_t i = 0; i < a.heads.size(); ++i) {
      ASSERT_NEAR(a.heads[i].row_sum, 1.0F, 1e-5F);
      ASSERT_NEAR(a.heads[i].entropy, b.heads[i].entropy, 2e-4);
      ASSERT_NEAR(a.heads[i].max, b.heads[i].max, 3e-5);
      ASSERT_NEAR(a.heads[i].first, b.heads[i].first, 3e-5);
      ASSERT_NEAR(a.heads[i].self, b.heads[i].self, 3e-5);
      ASSERT_NEAR(a.heads[i].lse, b.heads[i].lse, 1e-4 * (1.0 + std::fabs(b.heads[i].lse)));
    }
  }
}

TEST_P(GpuArchitecture, AnyTier_Eager_AndTwoRuns_GiveTheSameBits) {
  const auto run = [&](Tier tier, bool overlap) {
    auto generator = cuda_generator(model_, context_, false, overlap);
    generator.capture.tier = tier;
    EXPECT_TRUE(generator.evaluate(std::span(ids_).first(ids_.size() / 2), false, {}).ok());
    return decoded(generator, std::span(ids_).subspan(ids_.size() / 2));
  };
  const auto off = run(Tier::kOff, true);
  for (const Tier tier : {Tier::kOff, Tier::kSummary, Tier::kAttention, Tier::kFull}) {
    const auto other = run(tier, tier != Tier::kSummary);
    ASSERT_EQ(off.size(), other.size());
    EXPECT_EQ(0, std::memcmp(off.data(), other.data(), off.size() * sizeof(float)))
        << "tier " << static_cast<int>(tier);
  }
}

/// Cap and window included: rows from the caches are those that were captured, in prefill and
/// decode, on the GPU and pooled.
TEST_P(GpuArchitecture, CapturedRows_AreTheRecomputedOnes) {
  auto generator = cuda_generator(model_, context_, true);
  generator.capture.tier = Tier::kAttention;
  ASSERT_TRUE(generator.evaluate(std::span(ids_).first(ids_.size() / 2), false, {}).ok());
  decoded(generator, std::span(ids_).subspan(ids_.size() / 2));
  double largest = 0.0;
  for (std::size_t p = 0; p < ids_.size(); ++p) {
    const auto& frame = *generator.frames()[p];
    for (int layer = 0; layer < model_->spec.n_layers; ++layer) {
      for (int h = 0; h < model_->spec.n_heads; ++h) {
        std::vector<float> row(p + 1), again(p + 1);
        ASSERT_TRUE(generator.backend().captured_row(frame, layer, h, row).ok());
        generator.backend().attention_row(layer, h, static_cast<int>(p), again);
        largest = std::max(largest, largest_difference(row, again));
      }
    }
  }
  fmt::print("{:18} captured and recomputed rows differ by {:.1e}\n", GetParam().name, largest);
  EXPECT_LE(largest, 5e-6);
}

/// Steps done ahead choose the same tokens.
TEST_P(GpuArchitecture, StepsAhead_ChooseTheSameTokens) {
  const auto run = [&](int ahead) {
    auto generator = cuda_generator(model_, context_, false);
    generator.capture.tier = Tier::kAttention;
    generator.sampler_settings.temperature = 0.0F;
    EXPECT_TRUE(generator.evaluate(ids_, false, {}).ok());
    std::vector<std::int32_t> out;
    for (int i = 0; i < 8; ++i) {
      generator.ahead = ahead;
      const auto id = generator.choose();
      EXPECT_TRUE(id.ok());
      out.push_back(id.value());
      EXPECT_TRUE(generator.append(id.value(), capture::Origin::kSampled, {}).ok());
    }
    return out;
  };
  EXPECT_EQ(run(0), run(2));
}

TEST(GpuExperts, OneTensorEach_OfTwoTypes_IsTheSameModel) {
  LS_NEEDS_CUDA();
  expect_split_experts_agree("cuda");
}

/// The table of the CPU's test, for the GPU: float32 throughout, then as it is by default.
TEST(GpuTable, EveryArchitecture_InEveryType_Float32) {
  LS_NEEDS_CUDA();
  print_architecture_table("cuda", true, 2e-5);
}

TEST(GpuTable, EveryArchitecture_InEveryType_ByDefault) {
  LS_NEEDS_CUDA();
  print_architecture_table("cuda", false, 3e-2);
}

INSTANTIATE_TEST_SUITE_P(Models, GpuArchitecture, ::testing::ValuesIn(subjects()), subject_name);

}  // namespace
}  // namespace layerscope::testing

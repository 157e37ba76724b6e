// Diagnosis on the CUDA backend: the detection matrix, silence, and faults that do on the GPU what
// they do on the CPU. Parameterised by model, so that runs can be spread over processes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "tests/engine/diagnose/healthy.h"
#include "tests/engine/diagnose/matrix.h"
#include "tests/gpu/cuda_generator.h"

namespace layerscope::testing {
namespace {

using capture::FullTensor;
using capture::PassCapture;
using capture::Tap;
using model::InterventionKind;

const std::vector<std::int32_t> kIds{72, 101, 75, 83, 99, 220, 86, 78, 81, 75, 67, 3};

const MatrixModel& named_model(const std::string& name) {
  static const auto models = matrix_models();
  return *std::find_if(models.begin(), models.end(),
                       [&](const MatrixModel& m) { return name == m.name; });
}

class GpuMatrix : public ::testing::TestWithParam<std::string> {};

TEST_P(GpuMatrix, EveryFault_IsNamedWithCauseAndPlace) {
  LS_NEEDS_CUDA();
  const MatrixModel& which = named_model(GetParam());
  const auto loaded = load(which.path);
  int ok = 0;
  int possible = 0;
  for (const Expectation& want : expectations()) {
    const std::string result = verdict(loaded, which, want, "cuda");
    fmt::print("{:32} {:22} {:>11} on CUDA: {}\n", want.fault, want.cause, which.name, result);
    EXPECT_TRUE(result == "ok" || result == "n/a") << want.fault << ": " << result;
    ok += result == "ok" ? 1 : 0;
    possible += result == "n/a" ? 0 : 1;
  }
  fmt::print("{} on CUDA: {} of {} faults named with cause and place\n", which.name, ok, possible);
}

std::vector<std::string> names_of_all() {
  std::vector<std::string> names;
  for (const MatrixModel& model : matrix_models()) {
    names.push_back(model.name);
  }
  return names;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Models, GpuMatrix, ::testing::ValuesIn(names_of_all()), test_name);

class GpuSilence : public ::testing::TestWithParam<std::size_t> {
 protected:
  static constexpr std::size_t kParts = 4;
};

TEST_P(GpuSilence, DemoModel_FiftyPrompts) {
  LS_NEEDS_CUDA();
  const auto loaded = load(demo_model());
  const auto list = healthy_prompts();
  for (std::size_t i = GetParam(); i < list.size(); i += kParts) {
    RunRequest request = healthy_request(*loaded, list, i);
    request.backend = "cuda";
    expect_silent(diagnosed_run(loaded, request), list[i].substr(0, 60));
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, GpuSilence, ::testing::Values(0U, 1U, 2U, 3U));

TEST(GpuSilenceLimits, DemoModel_OneTokenAndFullContext) {
  LS_NEEDS_CUDA();
  expect_silent_at_the_limits(load(demo_model()), "cuda");
}

class GpuSilentGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(GpuSilentGolden, ShortLongAndTwoHundredTokens) {
  LS_NEEDS_CUDA();
  if (!undecodable_type(any_golden(GetParam(), "model.gguf")).empty()) {
    GTEST_SKIP() << "a type that nothing computes with";
  }
  expect_silent_golden(GetParam(), "cuda");
}

INSTANTIATE_TEST_SUITE_P(Models, GpuSilentGolden, ::testing::ValuesIn(golden_models()), test_name);

class GpuSilentTiny : public ::testing::TestWithParam<std::string> {};

TEST_P(GpuSilentTiny, ShortLongAndFullContext) {
  LS_NEEDS_CUDA();
  expect_silent_model(GetParam(),
                      {"a", "Hello", std::string(70, 'a'), "One, two, three, four, five."},
                      tiny(GetParam(), "model.gguf"), 128, "cuda");
}

INSTANTIATE_TEST_SUITE_P(Models, GpuSilentTiny, ::testing::ValuesIn(tiny_models()), test_name);

/// What a run under faults left: every tensor of a prompt and of three tokens after it.
struct Left {
  std::map<std::tuple<int, Tap, int>, FullTensor> tensors;
  std::vector<PassCapture> passes;
  std::vector<float> logits;
  Status status;
};

Left run_under(session::Generator& generator, const std::vector<std::string>& faults) {
  Left left;
  auto list = diagnose::parse_faults(faults, generator.model());
  left.status = list.ok() ? generator.set_interventions(list.value()) : list.error();
  if (!left.status.ok()) {
    return left;
  }
  generator.capture.tier = capture::Tier::kFull;
  generator.on_pass = [&left](const PassCapture& pass, std::span<const float>) {
    for (const FullTensor& tensor : pass.tensors) {
      left.tensors.emplace(
          std::tuple(static_cast<int>(left.passes.size()), tensor.tap, tensor.layer), tensor);
    }
    left.passes.push_back(pass);
  };
  left.status = generator.evaluate(kIds, true, {});
  for (const std::int32_t id : {5, 99, 7}) {
    if (left.status.ok()) {
      left.status = generator.append(id, capture::Origin::kForced, {});
    }
  }
  left.logits.assign(generator.logits().begin(), generator.logits().end());
  return left;
}

/// Largest difference of two tensors relative to the larger one's largest value; infinities and
/// NaN must stand at the same places.
double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double top = 1e-20;
  double error = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a[i]);
    const auto y = static_cast<double>(b[i]);
    if (!std::isfinite(x) || !std::isfinite(y)) {
      const bool same = std::isnan(x) ? std::isnan(y) : x == y;
      error = same ? error : INFINITY;
      continue;
    }
    error = std::max(error, std::fabs(x - y));
    top = std::max({top, std::fabs(x), std::fabs(y)});
  }
  return error / top;
}

class GpuFaults : public ::testing::TestWithParam<std::string> {};

/// The same fault, tensor by tensor, on both backends. Tolerance: a fault may amplify rounding, and
/// scores in float16 fall to another side of a step now and then; a fault done differently is off
/// by more than a tenth.
TEST_P(GpuFaults, EveryTap_AgreesWithTheCpuUnderTheSameFault) {
  LS_NEEDS_CUDA();
  const auto loaded = load(named_model(GetParam()).path);
  for (const Expectation& want : expectations()) {
    auto cpu = make_generator(loaded, 32);
    auto gpu = cuda_generator(loaded, 32, true);
    const Left expected = run_under(cpu, {want.fault});
    const Left got = run_under(gpu, {want.fault});
    ASSERT_EQ(expected.status.ok(), got.status.ok()) << want.fault;
    if (!expected.status.ok()) {
      EXPECT_EQ(expected.status.error().message, got.status.error().message);
      continue;
    }
    const double tolerance = std::string(want.fault).starts_with("score-f16") ? 5e-2 : 1e-2;
    double worst = relative_error(got.logits, expected.logits);
    std::string where = "logits";
    ASSERT_EQ(expected.tensors.size(), got.tensors.size()) << want.fault;
    for (const auto& [key, tensor] : expected.tensors) {
      const auto it = got.tensors.find(key);
      ASSERT_NE(it, got.tensors.end()) << want.fault;
      ASSERT_EQ(it->second.shape, tensor.shape) << want.fault;
      const double error = relative_error(it->second.values, tensor.values);
      if (!(error <= worst)) {
        worst = error;
        where = std::string(capture::tap_name(tensor.tap)) + " of layer " +
                std::to_string(tensor.layer) + " in pass " + std::to_string(std::get<0>(key));
      }
    }
    EXPECT_LE(worst, tolerance) << want.fault << ": " << where;
    for (std::size_t p = 0; p < expected.passes.size(); ++p) {
      const PassCapture& a = got.passes[p];
      const PassCapture& b = expected.passes[p];
      ASSERT_EQ(a.taps.size(), b.taps.size());
      for (std::size_t i = 0; i < a.taps.size(); ++i) {
        ASSERT_EQ(a.taps[i].count, b.taps[i].count) << want.fault << " pass " << p << " slot " << i;
        ASSERT_EQ(a.taps[i].non_finite, b.taps[i].non_finite) << want.fault;
      }
      for (std::size_t t = 0; t < b.attention.size(); ++t) {
        EXPECT_LE(relative_error(a.attention[t], b.attention[t]), 10.0 * tolerance)
            << want.fault << " rows of token " << t;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GpuFaults, ::testing::ValuesIn(names_of_all()), test_name);

std::vector<float> logits_of(session::Generator& generator) {
  std::vector<float> all;
  EXPECT_TRUE(generator.evaluate(kIds, false, {}).ok());
  all.assign(generator.logits().begin(), generator.logits().end());
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(generator.append(i, capture::Origin::kForced, {}).ok());
    all.insert(all.end(), generator.logits().begin(), generator.logits().end());
  }
  return all;
}

TEST(GpuInterventions, SetAndCleared_FastPathHasTheSameBits) {
  LS_NEEDS_CUDA();
  const auto loaded = load(demo_model());
  auto plain = cuda_generator(loaded, 64, false);
  const std::vector<float> right = logits_of(plain);
  auto generator = cuda_generator(loaded, 64, false);
  ASSERT_TRUE(generator
                  .set_interventions({{InterventionKind::kRopeTwice, -1, -1, -1, 0.0, {}},
                                      {InterventionKind::kTransposeTensor, -1, -1, -1, 0.0,
                                       "blk.0.attn_q.weight"}})
                  .ok());
  EXPECT_NE(logits_of(generator), right);
  generator.reset();
  ASSERT_TRUE(generator.set_interventions({}).ok());
  const std::vector<float> again = logits_of(generator);
  ASSERT_EQ(again.size(), right.size());
  EXPECT_EQ(0, std::memcmp(again.data(), right.data(), right.size() * sizeof(float)));
}

/// The fault pass with nothing to do computes what the fast path computes, up to rounding.
TEST(GpuInterventions, FaultOfNoPlace_AgreesWithTheFastPath) {
  LS_NEEDS_CUDA();
  const auto loaded = load(demo_model());
  auto plain = cuda_generator(loaded, 64, true);
  auto slow = cuda_generator(loaded, 64, true);
  ASSERT_TRUE(slow.set_interventions({{InterventionKind::kKvZero, 0, -1, 63, 0.0, {}}}).ok());
  EXPECT_LE(relative_error(logits_of(slow), logits_of(plain)), 1e-4);
}

TEST(GpuEager, StepsLaunchedOneByOne_EqualTheirGraph) {
  LS_NEEDS_CUDA();
  const auto loaded = load(demo_model());
  auto backend = backend::create_backend(loaded, {"cuda", 1, 160});
  ASSERT_TRUE(backend.ok());
  std::vector<float> recorded;
  std::vector<float> eager;
  PassCapture captured;
  for (int position = 0; position < 100; ++position) {  // past the first split of keys
    const std::int32_t id = position * 13 % 500;
    backend::ForwardRequest request;
    request.ids = std::span(&id, 1);
    request.position = position;
    request.eager = true;
    ASSERT_TRUE(backend.value()->forward(request, eager, captured).ok());
    backend.value()->truncate(position);
    request.eager = false;
    ASSERT_TRUE(backend.value()->forward(request, recorded, captured).ok());
    ASSERT_EQ(eager, recorded) << "position " << position;
  }
}

/// A fork shares the weights, not the caches.
TEST(GpuFork, SharesWeights_WithItsOwnCache) {
  LS_NEEDS_CUDA();
  const auto loaded = load(demo_model());
  auto generator = cuda_generator(loaded, 64, false);
  const std::vector<float> right = logits_of(generator);
  auto forked = generator.backend().fork(64);
  ASSERT_TRUE(forked.ok()) << forked.error().message;
  EXPECT_EQ(forked.value()->kv_len(), 0);
  session::Generator other(loaded, std::move(forked).value());
  EXPECT_EQ(logits_of(other), right);
}

/// How far decode, prefill and a repetition are apart on healthy runs, in units of the pass
/// tolerance's own terms: what its factors come from.
TEST(GpuRounding, DecodeAgainstPrefill_Measured) {
  LS_NEEDS_CUDA();
  const auto list = healthy_prompts();
  double worst = 0.0;
  const auto measure = [&](const std::shared_ptr<const model::Model>& loaded,
                           const std::string& prompt) {
    const auto ids = loaded->tokenizer->encode(prompt).ids;
    if (ids.empty()) {
      return;
    }
    auto prefill = cuda_generator(loaded, 1024, false);
    auto decode = cuda_generator(loaded, 1024, false);
    ASSERT_TRUE(prefill.evaluate(ids, false, {}).ok());
    for (const std::int32_t id : ids) {
      ASSERT_TRUE(decode.append(id, capture::Origin::kForced, {}).ok());
    }
    const auto a = prefill.logits();
    const auto b = decode.logits();
    const auto [low, high] = std::minmax_element(b.begin(), b.end());
    const double units = largest_difference(a, b) / static_cast<double>(*high - *low) / 0x1p-11 /
                         (loaded->spec.n_layers + 1);
    worst = std::max(worst, units);
  };
  const auto demo = load(demo_model());
  for (std::size_t i = 0; i < list.size(); i += 3) {
    measure(demo, list[i]);
  }
  fmt::print("demo: decode and prefill differ by up to {:.3g} · 2^-11 per layer of the range\n",
             worst);
  EXPECT_LE(worst, 0.4);
  for (const char* name : {"qwen2", "llama", "llama3", "qwen2-q8_0"}) {
    worst = 0.0;
    measure(load(golden(name, "model.gguf")), list[0]);
    measure(load(golden(name, "model.gguf")), read_text(golden(name, "prompt-long.txt")));
    fmt::print("{}: by up to {:.3g} · 2^-11 per layer\n", name, worst);
    EXPECT_LE(worst, 0.8);
  }
}

}  // namespace
}  // namespace layerscope::testing

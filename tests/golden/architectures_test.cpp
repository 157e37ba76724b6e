// Tiny models of every architecture against what transformers computed for them in float32: logits,
// the stream after every layer, attention of every head, greedy continuation.
//
// Tolerance: both sides round every operation to float32. Seen: 3e-5 in logits (standard deviation
// 1.4 to 6.4), 1e-4 in the stream (values up to 40). Mistakes cause 0.1 and more.
#include "tests/support/architectures.h"

namespace layerscope::testing {
namespace {

using capture::FullTensor;
using capture::Tap;

constexpr double kLogitTolerance = 2e-4;
constexpr double kRelative = 2e-5;  ///< of a stream's largest value
constexpr double kProbability = 2e-5;
constexpr int kContext = 128;

class TinyModel : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    model_ = load(tiny(GetParam(), "model.gguf"));
    reference_ = tiny_reference(GetParam());
  }

  std::shared_ptr<const model::Model> model_;
  TinyReference reference_;
};

TEST_P(TinyModel, LogitsStreamAndAttention_AgreeWithTransformers) {
  auto generator = make_generator(model_, kContext);
  generator.capture.tier = capture::Tier::kFull;
  std::map<std::pair<Tap, int>, FullTensor> taps;
  generator.on_pass = [&](const capture::PassCapture& pass, std::span<const float>) {
    for (const FullTensor& tensor : pass.tensors) {
      taps[{tensor.tap, tensor.layer}] = tensor;
    }
  };
  ASSERT_TRUE(generator.evaluate(reference_.prompt, true, {}).ok());
  const int layers = model_->spec.n_layers;
  double stream = 0.0;
  for (int i = 0; i <= layers; ++i) {
    const std::pair<Tap, int> place = i == 0        ? std::pair{Tap::kEmbedding, -1}
                                      : i == layers ? std::pair{Tap::kFinalNorm, -1}
                                                    : std::pair{Tap::kResidOut, i - 1};
    const auto& theirs = reference_.blocks.at("hidden." + std::to_string(i));
    ASSERT_EQ(taps.at(place).values.size(), theirs.size()) << i;
    float top = 1.0F;
    for (const float v : theirs) {
      top = std::max(top, std::fabs(v));
    }
    const double difference = largest_difference(taps.at(place).values, theirs);
    EXPECT_LE(difference, kRelative * static_cast<double>(top)) << "hidden state " << i;
    stream = std::max(stream, difference);
  }
  double attention = 0.0;
  for (int layer = 0; layer < layers; ++layer) {
    const auto& theirs = reference_.blocks.at("attention." + std::to_string(layer));
    const double difference =
        largest_difference(taps.at({Tap::kAttnWeights, layer}).values, theirs);
    EXPECT_LE(difference, kProbability) << "layer " << layer;
    attention = std::max(attention, difference);
  }
  const auto& two = reference_.blocks.at("logits");  // of the last two tokens
  const double logits = largest_difference(generator.logits(), std::span(two).last(two.size() / 2));
  EXPECT_LE(logits, kLogitTolerance);
  std::printf("%-18s logits %.1e  stream %.1e  attention %.1e\n", GetParam().c_str(), logits,
              stream, attention);
}

TEST_P(TinyModel, ShortPrompt_AgreesWithTransformers) {
  // LongRoPE chooses its divisors by the context, transformers by the tokens: the short one fits.
  auto generator = make_generator(model_, 16);
  ASSERT_TRUE(generator.evaluate(reference_.prompt_short, false, {}).ok());
  EXPECT_LE(largest_difference(generator.logits(), reference_.blocks.at("logits_short")),
            kLogitTolerance);
}

TEST_P(TinyModel, Greedy_Continuation_EqualsTransformers) {
  auto generator = make_generator(model_, kContext);
  ASSERT_TRUE(generator.evaluate(reference_.prompt, false, {}).ok());
  std::vector<std::int32_t> mine;
  while (mine.size() < reference_.greedy.size()) {
    const auto logits = generator.logits();
    mine.push_back(
        static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    ASSERT_TRUE(generator.append(mine.back(), capture::Origin::kForced, {}).ok());
  }
  EXPECT_EQ(mine, reference_.greedy);
}

TEST_P(TinyModel, Decode_EqualsPrefillBitForBit_AndObservingChangesNothing) {
  auto prefill = make_generator(model_, kContext);
  auto decode = make_generator(model_, kContext, 1);
  decode.capture.tier = capture::Tier::kFull;
  ASSERT_TRUE(prefill.evaluate(reference_.prompt, true, {}).ok());
  for (const std::int32_t id : reference_.prompt) {
    ASSERT_TRUE(decode.append(id, capture::Origin::kForced, {}).ok());
  }
  const std::vector<float> a(prefill.logits().begin(), prefill.logits().end());
  const std::vector<float> b(decode.logits().begin(), decode.logits().end());
  EXPECT_EQ(a, b);
}

/// Cap and window included: the row of every head from the caches is the one that was captured.
TEST_P(TinyModel, RecomputedAttention_IsTheCapturedOne) {
  auto generator = make_generator(model_, kContext);
  generator.capture.tier = capture::Tier::kAttention;
  ASSERT_TRUE(generator.evaluate(reference_.prompt, true, {}).ok());
  const auto& frame = *generator.frames().back();
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    for (int head = 0; head < frame.n_heads; ++head) {
      std::vector<float> row(reference_.prompt.size());
      generator.backend().attention_row(layer, head, frame.position, row);
      const auto live = frame.attention_row(layer, head);
      EXPECT_EQ(row, std::vector<float>(live.begin(), live.end())) << layer << " " << head;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, TinyModel, ::testing::ValuesIn(tiny_models()),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace layerscope::testing

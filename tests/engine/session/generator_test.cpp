// The generator on real models: the demo against an independent evaluation, rewinding, limits.
#include "engine/session/generator.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using capture::Origin;

/// assets/demo/reference.json was computed by PyTorch in float32 from the file's own weights.
TEST(DemoModel, Logits_AgreeWithIndependentEvaluation) {
  const auto model = load(demo_model());
  const auto reference = read_json(source_dir() + "/assets/demo/reference.json");
  ASSERT_GE(reference.at("prompts").size(), 6U);
  for (const auto& prompt : reference.at("prompts")) {
    const auto ids = prompt.at("prompt_ids").get<std::vector<std::int32_t>>();
    EXPECT_EQ(model->tokenizer->encode(prompt.at("text").get<std::string>()).ids, ids);
    const tokenizer::ChatMessage message{"user", prompt.at("prompt").get<std::string>()};
    const auto chat = tokenizer::render_chat(*model->tokenizer, std::span(&message, 1), true);
    ASSERT_TRUE(chat.ok());
    EXPECT_EQ(chat.value(), prompt.at("text").get<std::string>());

    auto generator = make_generator(model, 512);
    ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
    const auto first = prompt.at("first_logits").get<std::vector<double>>();
    for (std::size_t i = 0; i < first.size(); ++i) {
      EXPECT_NEAR(generator.logits()[i], first[i], 1e-4);
    }
    std::vector<std::int32_t> mine;
    const auto expected = prompt.at("greedy_ids").get<std::vector<std::int32_t>>();
    while (mine.size() < expected.size()) {
      const std::int32_t id = generator.choose().value();
      mine.push_back(id);
      ASSERT_TRUE(generator.append(id, Origin::kSampled, {}).ok());
    }
    EXPECT_EQ(mine, expected);
    EXPECT_TRUE(model->tokenizer->is_end(generator.choose().value()));
  }
}

TEST(DemoModel, PaddedRows_AreKnownAsSuch) {
  const auto model = load(demo_model());
  const auto usable = model->usable_rows();
  EXPECT_GT(std::count(usable.begin(), usable.end(), false), 0);
  EXPECT_FALSE(usable.back());
}

TEST(Generator, Rewind_AndForceSameTokens_SameLogits) {
  auto generator = make_generator(load(golden("llama", "model.gguf")), 64);
  generator.capture.tier = capture::Tier::kAttention;
  const std::vector<std::int32_t> ids{1, 30, 40, 50};
  ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
  for (const std::int32_t id : {60, 70, 80}) {
    ASSERT_TRUE(generator.append(id, Origin::kForced, {}).ok());
  }
  const std::vector<float> before(generator.logits().begin(), generator.logits().end());
  const std::uint64_t kept = generator.frames()[4]->serial;
  const std::uint64_t gone = generator.frames()[5]->serial;
  ASSERT_TRUE(generator.rewind(4, {}).ok());
  EXPECT_EQ(generator.frames().size(), 5U);
  EXPECT_EQ(generator.frames()[4]->serial, kept);
  ASSERT_TRUE(generator.append(70, Origin::kForced, {}).ok());
  EXPECT_NE(generator.frames()[5]->serial, gone) << "a new evaluation needs a new serial";
  ASSERT_TRUE(generator.append(80, Origin::kForced, {}).ok());
  EXPECT_EQ(before, std::vector<float>(generator.logits().begin(), generator.logits().end()));
}

TEST(Generator, RewindIntoPrompt_GivesThatPositionsDistribution) {
  auto generator = make_generator(load(golden("qwen2", "model.gguf")), 64);
  const std::vector<std::int32_t> ids{72, 101, 75, 83};
  ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
  EXPECT_FALSE(generator.frames()[1]->logits.has_value());
  ASSERT_TRUE(generator.rewind(1, {}).ok());
  ASSERT_TRUE(generator.frames()[1]->logits.has_value());
  auto fresh = make_generator(load(golden("qwen2", "model.gguf")), 64);
  ASSERT_TRUE(fresh.evaluate(std::span(ids).first(2), false, {}).ok());
  EXPECT_EQ(std::vector<float>(generator.logits().begin(), generator.logits().end()),
            std::vector<float>(fresh.logits().begin(), fresh.logits().end()));
}

TEST(Generator, RewindOutOfRange_IsRefused) {
  auto generator = make_generator(load(golden("qwen2", "model.gguf")), 64);
  EXPECT_FALSE(generator.rewind(0, {}).ok());
  ASSERT_TRUE(generator.evaluate(std::vector<std::int32_t>{5, 6}, false, {}).ok());
  EXPECT_FALSE(generator.rewind(2, {}).ok());
  EXPECT_FALSE(generator.rewind(-1, {}).ok());
}

TEST(Generator, FullContext_IsRefusedAndNothingIsLost) {
  auto generator = make_generator(load(golden("qwen2", "model.gguf")), 3);
  ASSERT_TRUE(generator.evaluate(std::vector<std::int32_t>{5, 6, 7}, false, {}).ok());
  const Status full = generator.append(8, Origin::kForced, {});
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(generator.frames().size(), 3U);
  auto other = make_generator(load(golden("qwen2", "model.gguf")), 3);
  EXPECT_FALSE(other.evaluate(std::vector<std::int32_t>{5, 6, 7, 8}, false, {}).ok());
  EXPECT_TRUE(other.frames().empty());
}

TEST(Generator, IdOutsideEmbedding_IsRefused) {
  auto generator = make_generator(load(golden("qwen2", "model.gguf")), 8);
  for (const std::int32_t id : {-1, 368, 1 << 30}) {
    const Status status = generator.evaluate(std::vector<std::int32_t>{id}, false, {});
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidInput);
  }
}

TEST(Generator, StopRequested_CancelsAndKeepsWholeBatches) {
  auto generator = make_generator(load(demo_model()), 512);
  const std::vector<std::int32_t> ids(200, 300);
  std::stop_source stop;
  const Status status = generator.evaluate(ids, false, stop.get_token(), [&](std::size_t done) {
    if (done >= 64) {
      stop.request_stop();
    }
  });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(generator.frames().size(), 64U);
  EXPECT_EQ(generator.backend().kv_len(), 64);
  ASSERT_TRUE(generator.evaluate(std::span(ids).subspan(64), false, {}).ok());
  auto fresh = make_generator(load(demo_model()), 512);
  ASSERT_TRUE(fresh.evaluate(ids, false, {}).ok());
  EXPECT_EQ(std::vector<float>(generator.logits().begin(), generator.logits().end()),
            std::vector<float>(fresh.logits().begin(), fresh.logits().end()));
}

TEST(Generator, ThreadCount_DoesNotChangeABit) {
  const std::vector<std::int32_t> ids{274, 198, 331, 258, 302, 304, 1699};
  std::vector<float> first;
  for (const int threads : {1, 2, 3, 7}) {
    auto generator = make_generator(load(demo_model()), 64, threads);
    ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
    const std::vector<float> logits(generator.logits().begin(), generator.logits().end());
    if (first.empty()) {
      first = logits;
    }
    EXPECT_EQ(logits, first) << threads << " threads";
  }
}

TEST(Generator, HugeContext_IsRefusedWithNumbers) {
  const auto backend = backend::create_backend(load(demo_model()), {"cpu", 1, 16777216});
  if (backend.ok()) {
    GTEST_SKIP() << "this machine has room for it";
  }
  EXPECT_EQ(backend.error().code, ErrorCode::kDevice);
  EXPECT_NE(backend.error().message.find("GiB"), std::string::npos);
}

}  // namespace
}  // namespace layerscope::testing

// Splices: inherited against own error, and finding the wrong layer by halving.
#include "engine/session/splice.h"

#include <gtest/gtest.h>

#include "engine/session/third_opinion.h"
#include "tests/engine/compare/compare_run.h"

namespace layerscope::testing {
namespace {

TEST(Splice, OwnErrors_SingleOutTheWrongBlock) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const auto cpu = cpu_backend(model);
  const auto healthy = own_trace(model, short_ids("qwen2"), 2).value();
  const auto wrong = own_trace(model, short_ids("qwen2"), 2, {"rope:off,1"}).value();
  compare::Comparison c = compared(wrong, healthy);
  const auto opinion = session::third_opinion(*model, *cpu, wrong, healthy, c);
  ASSERT_TRUE(opinion.ok()) << opinion.error().message;
  ASSERT_EQ(c.blocks.size(), 3U);
  EXPECT_EQ(c.blocks[0].total, 0.0);
  EXPECT_GT(c.blocks[1].added, 1e-3);
  EXPECT_EQ(c.blocks[1].inherited, 0.0);
  EXPECT_GT(c.blocks[2].inherited, 1e-3);
  EXPECT_GT(c.blocks[2].added, 1e-4) << "it reacts to its wrong input";
  EXPECT_LT(c.blocks[0].own.value(), 1e-6);
  EXPECT_GT(c.blocks[1].own.value(), 1e-3);
  EXPECT_LT(c.blocks[2].own.value(), 1e-6) << "but is right on its own";
  EXPECT_EQ(opinion.value().verdict, session::Verdict::kCandidate);
  EXPECT_EQ(opinion.value().suspect, 1);
}

TEST(Splice, ThirdOpinion_TellsWhichSideIsWrong) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const auto cpu = cpu_backend(model);
  const auto healthy = own_trace(model, short_ids("qwen2")).value();
  const auto wrong = own_trace(model, short_ids("qwen2"), 0, {"scale:none"}).value();
  compare::Comparison same = compared(healthy, healthy);
  compare::Comparison swapped = compared(healthy, wrong);
  compare::Comparison both = compared(wrong, wrong);
  const auto verdict = [&](const compare::Trace& a, const compare::Trace& b, auto& c) {
    return session::third_opinion(*model, *cpu, a, b, c).value().verdict;
  };
  EXPECT_EQ(verdict(healthy, healthy, same), session::Verdict::kAgree);
  EXPECT_EQ(verdict(healthy, wrong, swapped), session::Verdict::kReference);
  EXPECT_EQ(verdict(wrong, wrong, both), session::Verdict::kBoth);
}

/// Half-precision rounding of every layer's output is spread evenly: no bug.
TEST(Splice, RoundingToHalf_IsNotABug) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const auto cpu = cpu_backend(model);
  const auto healthy = own_trace(model, short_ids("qwen2")).value();
  // A run that truncates the stream to 11 bits after each layer, and goes on from there.
  compare::Trace rounded = healthy;
  for (compare::TraceTensor& tensor : rounded.tensors) {
    for (float& v : tensor.values) {
      v = static_cast<float>(static_cast<int>(v * 512.0F)) / 512.0F;
    }
  }
  compare::Comparison c = compared(rounded, healthy);
  ASSERT_TRUE(c.first.has_value()) << "beyond float32's tolerance";
  const auto opinion = session::third_opinion(*model, *cpu, rounded, healthy, c);
  ASSERT_TRUE(opinion.ok()) << opinion.error().message;
  EXPECT_EQ(opinion.value().verdict, session::Verdict::kRounding) << opinion.value().sentence;
  EXPECT_EQ(opinion.value().suspect, -1);
}

TEST(Splice, TheReferencesInput_MakesTheRestRight) {
  const auto model = load(golden("llama", "model.gguf"));
  const auto cpu = cpu_backend(model);
  const auto reference = own_trace(model, short_ids("llama"), 2).value();
  const std::string fault = "ablate:ffn,1";
  const auto list = diagnose::parse_faults(std::span(&fault, 1), *model).value();
  for (int layer = 0; layer < 3; ++layer) {
    const auto tried = session::splice_at(*model, *cpu, list, reference, layer);
    ASSERT_TRUE(tried.ok()) << tried.error().message;
    EXPECT_EQ(tried.value().right, layer > 1) << layer;
  }
  const auto found = session::bisect(*model, *cpu, list, reference);
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found.value().layer, 1);
  const auto healthy = session::bisect(*model, *cpu, {}, reference);
  ASSERT_TRUE(healthy.ok());
  EXPECT_FALSE(healthy.value().layer.has_value());
  EXPECT_EQ(healthy.value().tried.size(), 1U);
}

TEST(Splice, WithoutWholeRows_SaysSo) {
  const auto model = load(golden("llama", "model.gguf"));
  const auto cpu = cpu_backend(model);
  compare::Trace log = imported(golden("llama", "eval-callback.log"));
  EXPECT_FALSE(session::splice_at(*model, *cpu, {}, log, 1).ok()) << "no ids";
  log.ids = short_ids("llama");
  const auto partial = session::splice_at(*model, *cpu, {}, log, 1);
  ASSERT_FALSE(partial.ok());
  EXPECT_NE(partial.error().message.find("no whole rows"), std::string::npos);
  EXPECT_EQ(session::splice_at(*model, *cpu, {}, log, 9).error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace layerscope::testing

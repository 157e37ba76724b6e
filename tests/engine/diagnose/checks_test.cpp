// Checks one by one on made-up data: what no fault of the registry shows, and how findings group.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"
#include "tests/engine/diagnose/diagnose_run.h"
#include "tests/engine/diagnose/rewrite_model.h"

namespace layerscope::testing {
namespace {

using capture::Origin;
using capture::Tap;
using diagnose::Finding;
using diagnose::Report;
using diagnose::Severity;

Finding finding(const char* cause, int layer, Tap tap, int position, bool symptom = false) {
  Finding f;
  f.check = "test";
  f.cause = cause;
  f.layer = layer;
  f.position = position;
  f.symptom = symptom;
  f.stage = diagnose::stage_of(layer, static_cast<int>(tap), 4);
  return f;
}

TEST(Report, SameCauseInManyPlaces_IsOneFindingAtTheFirst) {
  Report report;
  for (int layer = 3; layer >= 1; --layer) {
    for (int position = 5; position >= 2; --position) {
      report.add(finding("rope-off", layer, Tap::kQRope, position));
    }
  }
  const auto grouped = report.grouped();
  ASSERT_EQ(grouped.size(), 1U);
  EXPECT_EQ(grouped[0].layer, 1);
  EXPECT_EQ(grouped[0].position, 2);
  ASSERT_EQ(grouped[0].related.size(), 2U);
  EXPECT_EQ(grouped[0].related[0], "also in layers 2, 3");
  EXPECT_EQ(grouped[0].related[1], "also at positions 3, 4, 5");
}

TEST(Report, Symptoms_AreExplainedByTheRoot) {
  Report report;
  report.add(finding("non-finite", 3, Tap::kFfnOut, 4, true));
  report.add(finding("logits-uniform", -1, Tap::kLogits, 4, true));
  report.add(finding("transposed-weight", 2, Tap::kQ, 0));
  const auto grouped = report.grouped();
  ASSERT_EQ(grouped.size(), 1U);
  EXPECT_EQ(grouped[0].cause, "transposed-weight");
  EXPECT_EQ(grouped[0].related.size(), 2U);
}

TEST(Report, SymptomAlone_IsReportedAndLaterOnesFollowIt) {
  Report report;
  report.add(finding("logits-uniform", -1, Tap::kLogits, 4, true));
  report.add(finding("non-finite", 3, Tap::kFfnOut, 4, true));
  const auto grouped = report.grouped();
  ASSERT_EQ(grouped.size(), 1U);
  EXPECT_EQ(grouped[0].cause, "non-finite");
}

TEST(Report, DifferentRoots_StayApart_MostSevereFirst) {
  Report report;
  Finding warning = finding("tensor-unread", 0, Tap::kQ, 0);
  warning.severity = Severity::kWarning;
  report.add(warning);
  report.add(finding("rope-off", 3, Tap::kQRope, 1));
  report.add(finding("bias-dropped", 1, Tap::kQ, 1));
  const auto grouped = report.grouped();
  ASSERT_EQ(grouped.size(), 3U);
  EXPECT_EQ(grouped[0].cause, "bias-dropped");
  EXPECT_EQ(grouped[1].cause, "rope-off");
  EXPECT_EQ(grouped[2].cause, "tensor-unread");
}

/// Live checks over frames that the test has changed.
class LiveChecks : public ::testing::Test {
 protected:
  void SetUp() override {
    subject_.model = load(golden("qwen2", "model.gguf"));
    auto generator = make_generator(subject_.model, 64);
    generator.capture.tier = capture::Tier::kAttention;
    const std::vector<std::int32_t> ids{72, 101, 75, 83};
    ASSERT_TRUE(generator.evaluate(ids, true, {}).ok());
    for (const auto& frame : generator.frames()) {
      frames_.push_back(std::make_shared<capture::TokenFrame>(*frame));
    }
    subject_.n_prompt = 4;
  }

  std::vector<Finding> run() {
    Report report;
    const std::vector<std::shared_ptr<const capture::TokenFrame>> frames(frames_.begin(),
                                                                         frames_.end());
    for (std::size_t n = 1; n <= frames.size(); ++n) {
      diagnose::run_live_checks({subject_, std::span(frames).first(n)}, report);
    }
    return report.grouped();
  }

  capture::TapStats& stats(int layer, Tap tap) {
    capture::TokenFrame& frame = *frames_.back();
    return frame
        .taps[static_cast<std::size_t>(layer < 0 ? frame.n_layers : layer) * capture::kNumTaps +
              static_cast<std::size_t>(tap)];
  }

  diagnose::Subject subject_;
  std::vector<std::shared_ptr<capture::TokenFrame>> frames_;
};

TEST_F(LiveChecks, Untouched_Silent) { EXPECT_TRUE(run().empty()); }

TEST_F(LiveChecks, NanFromOneLayerOn_IsOneFindingThere) {
  for (int layer = 1; layer < 3; ++layer) {
    for (const Tap tap : {Tap::kFfnOut, Tap::kResidOut}) {
      stats(layer, tap).non_finite = 5;
    }
  }
  stats(-1, Tap::kLogits).non_finite = 368;
  const auto found = run();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "non-finite");
  EXPECT_EQ(found[0].layer, 1);
  EXPECT_EQ(found[0].evidence.tap, "ffn_out");
}

TEST_F(LiveChecks, SameDumpInEveryLayer_IsTheInstrumentsFault) {
  for (int layer = 1; layer < 3; ++layer) {
    stats(layer, Tap::kQ) = stats(0, Tap::kQ);
  }
  const auto found = run();
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].cause, "same-dump-everywhere");
  EXPECT_EQ(found[0].severity, Severity::kWarning);
}

TEST_F(LiveChecks, RowSumOff_IsReported) {
  frames_.back()->heads[5].row_sum = 0.99F;
  const auto found = run();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "row-sum");
  EXPECT_EQ(found[0].layer, 1);
  EXPECT_EQ(found[0].head, 1);
}

TEST_F(LiveChecks, EqualLogits_AreACollapse) {
  frames_.back()->logits->min = frames_.back()->logits->max;
  const auto found = run();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "logits-uniform");
}

TEST_F(LiveChecks, LoopOfTokens_IsOnlyInformation) {
  for (int i = 0; i < 40; ++i) {
    auto frame = std::make_shared<capture::TokenFrame>();
    frame->position = static_cast<int>(frames_.size());
    frame->id = 70 + i % 3;
    frames_.push_back(frame);
  }
  const auto found = run();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "repetition-loop");
  EXPECT_EQ(found[0].severity, Severity::kInfo);
}

TEST_F(LiveChecks, SplitSpecialToken_TokensDiffer) {
  subject_.text_known = true;
  subject_.fed_text = "<|im_end|>abc";
  EXPECT_FALSE(run().empty());
  EXPECT_EQ(run()[0].cause, "tokens-differ");
}

TEST_F(LiveChecks, TokenOutsideMinP_IsReported) {
  subject_.sampling = {1.0, 0, 1.0, 0.5, 1.0};
  capture::TokenFrame& last = *frames_.back();
  last.choice.origin = Origin::kSampled;
  last.choice.known = true;
  last.choice.rank = 1;
  last.choice.logit = frames_[2]->logits->max - 0.5F;  // e^-0.5 = 0.61
  EXPECT_TRUE(run().empty());
  last.choice.logit = frames_[2]->logits->max - 1.0F;  // e^-1 = 0.37
  const auto found = run();
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].cause, "outside-min-p");
}

/// Top-p after top-k: the probabilities are those among the k.
TEST_F(LiveChecks, TokenOutsideTopPWithinTopK_IsReported) {
  subject_.sampling = {1.0, 3, 0.7, 0.0, 1.0};
  capture::TokenFrame& last = *frames_.back();
  last.choice.origin = Origin::kSampled;
  last.choice.known = true;
  last.choice.rank = 2;
  auto& top = frames_[2]->logits->top;
  top[0].prob = top[1].prob = 0.2F;
  top[2].prob = 0.2F;
  last.choice.logit = top[2].logit = top[0].logit;
  EXPECT_TRUE(run().empty());  // two thirds are ahead
  top[2].prob = 0.1F;
  const auto found = run();  // four fifths are
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].cause, "outside-top-p");
}

TEST_F(LiveChecks, TokenOutsideTopP_IsReported) {
  subject_.sampling = {1.0, 0, 0.5, 0.0, 1.0};
  capture::TokenFrame& last = *frames_.back();
  last.choice.origin = Origin::kSampled;
  last.choice.known = true;
  last.choice.rank = 3;
  auto& top = frames_[2]->logits->top;
  top[0].prob = 0.6F;
  const auto found = run();
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].cause, "outside-top-p");
}

// ---- weights of files
// ----------------------------------------------------------------------------

std::vector<Finding> load_findings(const std::string& path) {
  diagnose::Subject subject;
  subject.model = load(path);
  Report report;
  diagnose::run_load_checks(subject, report);
  return report.grouped();
}

TEST(WeightScan, DamagedTensors_AreNamed) {
  const std::string source = golden("qwen2", "model.gguf");
  const auto change = [&](const char* name, float factor, float shift) {
    const RewrittenModel file(source, [&](const format::TensorInfo& tensor, Converted& out) {
      for (float& v : out.values) {
        v = tensor.name == name ? v * factor + shift : v;
      }
    });
    return load_findings(file.path());
  };
  EXPECT_TRUE(change("nothing", 1.0F, 0.0F).empty());
  auto found = change("blk.1.ffn_up.weight", 1.0F, NAN);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "weights-non-finite");
  EXPECT_EQ(found[0].tensor, "blk.1.ffn_up.weight");
  EXPECT_EQ(found[0].layer, 1);
  found = change("blk.2.attn_v.weight", 0.0F, 0.0F);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "weights-zero");
  found = change("output_norm.weight", 10.0F, 0.0F);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "norm-weights-corrupt");
  EXPECT_EQ(found[0].severity, Severity::kWarning);
}

TEST(WeightScan, UnreadTensor_IsAWarning) {
  const RewrittenModel file(golden("llama", "model.gguf"), {}, "blk.0.attn_sinks.weight");
  const auto found = load_findings(file.path());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "tensor-unread");
  EXPECT_EQ(found[0].tensor, "blk.0.attn_sinks.weight");
}

/// No golden has bfloat16 matrices, so one is made.
TEST(Bf16Model, MisreadAsF16_IsNamed_AndHealthyOtherwise) {
  const RewrittenModel file(golden("qwen2", "model.gguf"),
                            [](const format::TensorInfo& tensor, Converted& out) {
                              out.dtype = tensor.shape.size() == 2 ? DType::kBF16 : DType::kF32;
                            });
  const auto model = load(file.path());
  ASSERT_EQ(model->weights.layers[0].q.dtype, DType::kBF16);
  EXPECT_TRUE(diagnosed_run(model, {}).findings.empty());
  for (const char* tensor : {"blk.0.attn_q.weight", "blk.1.ffn_down.weight"}) {
    RunRequest request;
    request.faults = {std::string("dtype:bf16-as-f16,") + tensor};
    const RunResult run = diagnosed_run(model, request);
    ASSERT_TRUE(run.status.ok());
    ASSERT_EQ(run.findings.size(), 1U);
    EXPECT_EQ(run.findings[0].cause, "dtype-misread");
    EXPECT_EQ(run.findings[0].tensor, tensor);
  }
}

TEST(Thresholds, EveryCheck_SaysWhereItsComeFrom) {
  for (const diagnose::Check& check : diagnose::checks()) {
    EXPECT_FALSE(diagnose::thresholds::source_of(check.name).empty()) << check.name;
  }
  EXPECT_TRUE(diagnose::thresholds::source_of("nothing").empty());
}

// ---- oracles
// -------------------------------------------------------------------------------------

TEST(Agrees, SpecialValues) {
  EXPECT_TRUE(diagnose::agrees(1.0F, 1.0 + 1e-9, 1e-8));
  EXPECT_FALSE(diagnose::agrees(1.0F, 1.1, 1e-8));
  EXPECT_TRUE(diagnose::agrees(NAN, NAN, 0.0));
  EXPECT_FALSE(diagnose::agrees(NAN, 1.0, 1e9));
  EXPECT_FALSE(diagnose::agrees(1.0F, NAN, 1e9));
  EXPECT_TRUE(diagnose::agrees(INFINITY, 1e39, 0.0));
  EXPECT_FALSE(diagnose::agrees(INFINITY, 1e30, 0.0));
  EXPECT_FALSE(diagnose::agrees(-INFINITY, 1e39, 0.0));
}

/// One pass over a few tokens with everything captured, and the input that deep checks get of it.
class OnePass {
 public:
  explicit OnePass(std::shared_ptr<const model::Model> model, std::vector<std::int32_t> ids)
      : ids_(std::move(ids)), passes_(1) {
    auto backend = backend::create_backend(model, {"cpu", 1, 32}).value();
    backend::ForwardRequest request{ids_, 0, false, {capture::Tier::kFull, 0, 99, 0xFFFFFFFFU}, {}};
    EXPECT_TRUE(backend->forward(request, passes_[0].logits, passes_[0].captured).ok());
    subject.model = std::move(model);
  }

  [[nodiscard]] std::vector<Finding> findings(std::span<const float> again = {},
                                              std::span<const float> eager = {}) const {
    const diagnose::Captures captures(passes_);
    diagnose::DeepInput input{subject, ids_, captures, {}, {}, again, eager, {}, {}, {}};
    Report report;
    diagnose::run_deep_checks(input, report);
    return report.grouped();
  }
  diagnose::Pass& pass() { return passes_[0]; }

  diagnose::Subject subject;

 private:
  std::vector<std::int32_t> ids_;
  std::vector<diagnose::Pass> passes_;
};

TEST(Consistency, RepeatedPassWithOtherBits_IsReported) {
  OnePass one(load(golden("qwen2", "model.gguf")), {72, 101, 75});
  std::vector<float> again = one.pass().logits;
  EXPECT_TRUE(one.findings(again).empty());
  again[7] = std::nextafter(again[7], 100.0F);
  ASSERT_EQ(one.findings(again).size(), 1U);
  EXPECT_EQ(one.findings(again)[0].cause, "not-repeatable");
}

TEST(Consistency, RecordedStepUnlikeEagerOne_IsReported) {
  OnePass one(load(golden("qwen2", "model.gguf")), {72, 101, 75});
  std::vector<float> eager = one.pass().logits;
  EXPECT_TRUE(one.findings(one.pass().logits, eager).empty());
  eager[7] = std::nextafter(eager[7], 100.0F);
  const auto found = one.findings(one.pass().logits, eager);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "stale-graph");
}

/// The oracle knows how the backend rounds: keys that should have been rounded to float16 and were
/// not are as wrong as the other way round.
TEST(Rounding, HalfCache_ScoresOfUnroundedKeys_AreWrong) {
  OnePass one(load(golden("qwen2", "model.gguf")), {72, 101, 75});
  EXPECT_TRUE(one.findings().empty());
  one.subject.half_cache = true;
  const auto found = one.findings();
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].check, "attention");
}

/// Coarser products are allowed in passes of several tokens, and only there.
TEST(Rounding, CoarseProducts_AreToleratedInLongPassesOnly) {
  for (const bool alone : {false, true}) {
    OnePass one(load(golden("qwen2", "model.gguf")),
                alone ? std::vector<std::int32_t>{72} : std::vector<std::int32_t>{72, 101, 75});
    for (capture::FullTensor& tensor : one.pass().captured.tensors) {
      if (tensor.tap == capture::Tap::kFfnGate && tensor.layer == 1) {
        tensor.values[3] *= 1.0F + 0x1p-11F;
      }
    }
    // The activation after the changed gate is off as well: only the projection is looked at.
    const auto named = [&] {
      const auto found = one.findings();
      return std::any_of(found.begin(), found.end(),
                         [](const Finding& f) { return f.check == "projection"; });
    };
    EXPECT_TRUE(named());
    one.subject.product_roundoff = 0x1p-10;
    EXPECT_EQ(named(), alone);
  }
}

TEST(Distribution, ProbabilityUnlikeTheExactSoftMax_IsReported) {
  const auto model = load(golden("qwen2", "model.gguf"));
  auto generator = make_generator(model, 32);
  const std::vector<std::int32_t> ids{72, 101, 75};
  ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
  auto frame = std::make_shared<capture::TokenFrame>(*generator.frames().back());
  diagnose::Subject subject;
  subject.model = model;
  const diagnose::Captures none({});
  const auto run = [&] {
    diagnose::DeepInput input{subject, ids, none, {}, generator.logits(), {}, {}, {}, {}, frame};
    Report report;
    diagnose::run_deep_checks(input, report);
    return report.grouped();
  };
  EXPECT_TRUE(run().empty());
  frame->logits->top[3].prob += 1e-5F;
  ASSERT_EQ(run().size(), 1U);
  EXPECT_EQ(run()[0].cause, "distribution-wrong");
}

/// Rows of the head that are computed once and then left.
TEST(Head, RowsThatNeverChange_AreStale) {
  const auto model = load(golden("llama3", "model.gguf"));
  auto backend = backend::create_backend(model, {"cpu", 1, 32}).value();
  const std::vector<std::int32_t> ids{72, 101, 75, 9};
  std::vector<diagnose::Pass> passes(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    backend::ForwardRequest request;
    request.ids = std::span(ids).subspan(i, 1);
    request.position = static_cast<int>(i);
    request.capture.tier = capture::Tier::kFull;
    ASSERT_TRUE(backend->forward(request, passes[i].logits, passes[i].captured).ok());
  }
  const auto logits_of = [](diagnose::Pass& pass) -> std::vector<float>& {
    return std::find_if(pass.captured.tensors.begin(), pass.captured.tensors.end(),
                        [](const auto& t) { return t.tap == Tap::kLogits; })
        ->values;
  };
  for (std::size_t i = 1; i < passes.size(); ++i) {
    for (const std::size_t row : {5U, 17U, 40U}) {
      logits_of(passes[i])[row] = logits_of(passes[0])[row];
    }
  }
  const diagnose::Captures captures(passes);
  diagnose::Subject subject;
  subject.model = model;
  Report report;
  diagnose::run_deep_checks({subject, ids, captures, {}, {}, {}, {}, {}, {}, {}}, report);
  ASSERT_EQ(report.grouped().size(), 1U);
  EXPECT_EQ(report.grouped()[0].cause, "head-rows-stale");
}

TEST(Instrument, LiveRowUnlikeWholeTensor_IsItsOwnFault) {
  OnePass one(load(golden("qwen2", "model.gguf")), {72, 101, 75});
  one.pass().captured.attention[2][4] += 0.25F;
  const auto found = one.findings();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].cause, "captured-rows-disagree");
  EXPECT_EQ(found[0].severity, Severity::kWarning);
}

TEST(Instrument, RowUnlikeTheCaches_IsItsOwnFault) {
  const auto model = load(golden("qwen2", "model.gguf"));
  auto generator = make_generator(model, 32);
  generator.capture.tier = capture::Tier::kAttention;
  const std::vector<std::int32_t> ids{72, 101, 75};
  ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
  auto frame = std::make_shared<capture::TokenFrame>(*generator.frames().back());
  diagnose::RecomputedRow row{1, 2, 2, std::vector<float>(3), std::vector<float>(3)};
  ASSERT_TRUE(generator.backend().captured_row(*frame, 1, 2, row.captured).ok());
  generator.backend().attention_row(1, 2, 2, row.probabilities);
  diagnose::Subject subject;
  subject.model = model;
  const diagnose::Captures none({});
  const auto run = [&] {
    Report report;
    diagnose::run_deep_checks({subject, ids, none, {}, {}, {}, {}, {}, std::span(&row, 1), frame},
                              report);
    return report.grouped();
  };
  EXPECT_TRUE(run().empty());
  row.probabilities[1] *= 1.01F;
  ASSERT_EQ(run().size(), 1U);
  EXPECT_EQ(run()[0].cause, "recomputed-rows-disagree");
  EXPECT_EQ(run()[0].severity, Severity::kWarning);
}

}  // namespace
}  // namespace layerscope::testing

// Faults and findings through the session: what the window sees, and that healthy runs are
// untouched.
#include <gtest/gtest.h>

#include "engine/session/session.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using namespace session;  // NOLINT: the test is about this namespace

class DiagnosedSession : public ::testing::Test {
 protected:
  std::shared_ptr<const Snapshot> after(Command command) {
    session_.send(std::move(command));
    session_.wait_idle();
    return session_.snapshot();
  }

  void SetUp() override {
    after(LoadModel{demo_model()});
    ASSERT_EQ(session_.snapshot()->error, "");
  }

  std::vector<std::int32_t> generated() {
    const auto snapshot = session_.snapshot();
    std::vector<std::int32_t> ids;
    for (int i = snapshot->n_prompt(); i < snapshot->n_frames; ++i) {
      ids.push_back(snapshot->frame(i)->id);
    }
    return ids;
  }

  Session session_{SessionOptions{}};
};

TEST_F(DiagnosedSession, LiveFinding_ArrivesWithItsToken_AndGoesWithTheFault) {
  after(SetPrompt{"Count from one to nine.", true});
  const std::uint64_t before = after(Step{4})->findings_serial;
  EXPECT_TRUE(session_.snapshot()->findings.empty());
  EXPECT_GT(session_.snapshot()->checks_run, 5);
  const auto healthy = generated();

  auto snapshot = after(SetFaults{{"softmax:unnormalised,2"}});
  EXPECT_EQ(snapshot->faults, std::vector<std::string>{"softmax:unnormalised,2"});
  EXPECT_EQ(snapshot->n_frames, 0) << "the context starts over";
  EXPECT_FALSE(snapshot->prompt_ids.empty()) << "the prompt stays";
  snapshot = after(Step{4});
  ASSERT_EQ(snapshot->findings.size(), 1U);
  EXPECT_EQ(snapshot->findings[0].cause, "softmax-unnormalised");
  EXPECT_EQ(snapshot->findings[0].layer, 2);
  EXPECT_GT(snapshot->findings_serial, before);
  EXPECT_FALSE(snapshot->diagnosed);
  EXPECT_NE(snapshot->findings[0].serial, 0U);

  snapshot = after(SetFaults{});
  EXPECT_TRUE(snapshot->findings.empty());
  EXPECT_TRUE(snapshot->faults.empty());
  after(Step{4});
  EXPECT_EQ(generated(), healthy);
}

TEST_F(DiagnosedSession, DiagnoseNow_NamesWhatLiveChecksCannot_WithoutTouchingTheRun) {
  after(SetFaults{{"kv:stuck,3"}});
  after(SetPrompt{"Count from one to nine.", true});
  after(Step{4});
  const auto before = generated();
  EXPECT_TRUE(session_.snapshot()->findings.empty());
  const auto snapshot = after(DiagnoseNow{});
  EXPECT_EQ(snapshot->error, "");
  EXPECT_TRUE(snapshot->diagnosed);
  ASSERT_EQ(snapshot->findings.size(), 1U);
  EXPECT_EQ(snapshot->findings[0].cause, "kv-cursor-stuck");
  EXPECT_EQ(snapshot->findings[0].layer, 3);
  EXPECT_EQ(generated(), before);
  EXPECT_EQ(snapshot->state, State::kIdle);
  EXPECT_FALSE(after(Step{1})->diagnosed) << "the new token has not been looked at in depth";
}

TEST_F(DiagnosedSession, DeepEvery_RunsTheOraclesByItself) {
  after(SetFaults{{"gqa:first,5"}});
  after(SetDiagnosis{true, 2});
  after(SetPrompt{"Count from one to nine.", true});
  EXPECT_TRUE(after(Step{1})->findings.empty());
  const auto snapshot = after(Step{1});
  ASSERT_FALSE(snapshot->findings.empty());
  EXPECT_EQ(snapshot->findings[0].cause, "gqa-first");
}

TEST_F(DiagnosedSession, BadFault_LandsInTheError_AndChangesNothing) {
  after(SetPrompt{"Count from one to nine.", true});
  after(SetFaults{{"rope:off"}});
  after(Step{2});
  const auto snapshot = after(SetFaults{{"bos:missing"}});
  EXPECT_NE(snapshot->error.find("adds no BOS"), std::string::npos) << snapshot->error;
  EXPECT_EQ(snapshot->faults, std::vector<std::string>{"rope:off"});
  EXPECT_GT(snapshot->n_frames, 0);
  EXPECT_NE(after(SetFaults{{"nonsense"}})->error.find("no fault 'nonsense'"), std::string::npos);
}

TEST_F(DiagnosedSession, Rewind_ForgetsLaterFindings_NewPromptAll) {
  after(SetPrompt{"Count from one to nine.", true});
  after(SetFaults{{"head:padded"}});
  const auto snapshot = after(Step{2});
  ASSERT_FALSE(snapshot->findings.empty());
  EXPECT_EQ(snapshot->findings[0].cause, "padding-scanned");
  EXPECT_TRUE(after(Rewind{snapshot->n_prompt() - 1})->findings.empty());
  after(Step{1});
  EXPECT_FALSE(session_.snapshot()->findings.empty());
  EXPECT_TRUE(after(SetPrompt{"Count.", true})->findings.empty());
}

TEST_F(DiagnosedSession, LiveOff_FindsNothingUntilAsked) {
  after(SetDiagnosis{false, 0});
  after(SetFaults{{"softmax:unnormalised"}});
  after(SetPrompt{"Count from one to nine.", true});
  EXPECT_TRUE(after(Step{3})->findings.empty());
  EXPECT_FALSE(after(DiagnoseNow{})->findings.empty());
}

TEST_F(DiagnosedSession, ModelInfo_ListsEveryFaultWithAReasonWhereItCannotBe) {
  const auto& faults = session_.snapshot()->model->faults;
  ASSERT_GT(faults.size(), 30U);
  int possible = 0;
  for (const FaultInfo& fault : faults) {
    EXPECT_FALSE(fault.title.empty() || fault.story.empty() || fault.usage.empty());
    possible += fault.reason.empty() ? 1 : 0;
    if (fault.name == "bos:missing" || fault.name == "qk-norm:off") {
      EXPECT_FALSE(fault.reason.empty()) << fault.name;
    }
  }
  EXPECT_GT(possible, 25);
}

/// Setting faults and taking them back must leave no trace in the numbers.
TEST(Interventions, SetAndCleared_LogitsHaveTheSameBits) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const std::vector<std::int32_t> ids{72, 101, 75, 83, 60};
  auto plain = make_generator(model, 64);
  ASSERT_TRUE(plain.evaluate(ids, true, {}).ok());
  const std::vector<float> right(plain.logits().begin(), plain.logits().end());
  auto generator = make_generator(model, 64);
  using Kind = model::InterventionKind;
  ASSERT_TRUE(
      generator
          .set_interventions({{Kind::kRopeTwice, -1, -1, -1, 0.0, {}},
                              {Kind::kTransposeTensor, -1, -1, -1, 0.0, "blk.0.attn_q.weight"}})
          .ok());
  ASSERT_TRUE(generator.evaluate(ids, true, {}).ok());
  EXPECT_NE(std::vector<float>(generator.logits().begin(), generator.logits().end()), right);
  ASSERT_TRUE(generator.set_interventions({}).ok());
  generator.reset();
  ASSERT_TRUE(generator.evaluate(ids, true, {}).ok());
  EXPECT_EQ(std::vector<float>(generator.logits().begin(), generator.logits().end()), right);
}

/// The slow path with nothing to do computes what the fast path computes.
TEST(Interventions, FaultOfNoPlace_SameBits) {
  const auto model = load(golden("qwen2", "model.gguf"));
  const std::vector<std::int32_t> ids{72, 101, 75, 83, 60};
  auto plain = make_generator(model, 64);
  auto slow = make_generator(model, 64);
  ASSERT_TRUE(
      slow.set_interventions({{model::InterventionKind::kKvZero, 0, -1, 63, 0.0, {}}}).ok());
  ASSERT_TRUE(plain.evaluate(ids, true, {}).ok());
  ASSERT_TRUE(slow.evaluate(ids, true, {}).ok());
  EXPECT_EQ(std::vector<float>(plain.logits().begin(), plain.logits().end()),
            std::vector<float>(slow.logits().begin(), slow.logits().end()));
}

/// A backend that knows nothing of faults.
class PlainBackend final : public backend::Backend {
 public:
  Status forward(const backend::ForwardRequest& /*request*/, std::vector<float>& /*logits*/,
                 capture::PassCapture& /*captured*/) override {
    return {};
  }
  void truncate(int /*length*/) override {}
  void attention_row(int /*layer*/, int /*head*/, int /*position*/,
                     std::span<float> /*out*/) const override {}
  [[nodiscard]] int kv_len() const override { return 0; }
  [[nodiscard]] int context() const override { return 8; }
  [[nodiscard]] std::string name() const override { return "plain"; }
  [[nodiscard]] std::string description() const override { return "plain"; }
  [[nodiscard]] int batch_tokens() const override { return 8; }
  [[nodiscard]] std::uint64_t cache_bytes() const override { return 0; }
};

TEST(Interventions, BackendWithoutThem_RefusesWithASentence) {
  using Kind = model::InterventionKind;
  PlainBackend backend;
  EXPECT_TRUE(backend.set_interventions({}).ok());
  EXPECT_TRUE(backend.set_interventions({{Kind::kIgnoreTemperature, -1, -1, -1, 0.0, {}}}).ok());
  for (const Kind kind : {Kind::kRopeOff, Kind::kTransposeTensor}) {
    const Status status = backend.set_interventions({{kind, -1, -1, -1, 0.0, {}}});
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kUsage);
    EXPECT_NE(status.error().message.find("plain backend"), std::string::npos);
  }
}

}  // namespace
}  // namespace layerscope::testing

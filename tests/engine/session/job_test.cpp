// Jobs: every token in order, the right end, the window's settings untouched, cancelled alone.
#include "engine/session/job.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "engine/session/generator.h"
#include "engine/session/session.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using namespace session;  // NOLINT: the test is about this namespace

class Recorder final : public Job {
 public:
  explicit Recorder(JobSettings settings) : settings_(std::move(settings)) {}
  [[nodiscard]] const JobSettings& settings() const override { return settings_; }
  [[nodiscard]] std::stop_token stop_token() const override { return stop.get_token(); }
  void started(const Snapshot& state) override { prompt_ids = state.prompt_ids; }
  bool token(std::int32_t id, bool last) override {
    EXPECT_FALSE(saw_last) << "a token after the last";
    ids.push_back(id);
    saw_last = last;
    if (static_cast<int>(ids.size()) == cancel_after) {
      stop.request_stop();
    }
    return static_cast<int>(ids.size()) != refuse_at;
  }
  void findings(const std::vector<diagnose::Finding>& all) override { n_findings = all.size(); }
  void record(Generator& generator, const Snapshot& state) override {
    EXPECT_GT(state.n_prompt(), 0);
    if (passes_wanted) {
      generator.on_pass = [this](const capture::PassCapture& captured,
                                 std::span<const float> logits) {
        tensors += captured.tensors.size();
        EXPECT_FALSE(logits.empty());
      };
    }
  }
  void ended(const Status& result, const JobEnd& how) override {
    const std::lock_guard lock(mutex_);
    ++n_ended;
    status = result;
    end = how;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(30), [this] { return n_ended > 0; }));
  }

  std::stop_source stop;
  int cancel_after = -1, refuse_at = -1;
  bool passes_wanted = false, saw_last = false;
  std::vector<std::int32_t> prompt_ids, ids;
  std::size_t n_findings = 0, tensors = 0;
  int n_ended = 0;
  Status status;
  JobEnd end;

 private:
  JobSettings settings_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

JobSettings count_to_nine(int tokens) {
  JobSettings settings;
  settings.prompt = "Count from one to nine.";
  settings.chat = true;
  settings.max_tokens = tokens;
  settings.capture.tier = capture::Tier::kSummary;
  return settings;
}

class JobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    session_ = std::make_unique<Session>(SessionOptions{});
    session_->send(LoadModel{demo_model()});
    session_->wait_idle();
  }
  std::shared_ptr<Recorder> run(JobSettings settings) {
    auto job = std::make_shared<Recorder>(std::move(settings));
    run(job);
    return job;
  }
  void run(const std::shared_ptr<Recorder>& job) {
    session_->send(RunJob{job});
    job->wait();
    session_->wait_idle();
  }
  std::unique_ptr<Session> session_;
};

TEST_F(JobTest, Tokens_EqualThoseOfTheWindowsRun) {
  const auto job = run(count_to_nine(8));
  ASSERT_TRUE(job->status.ok()) << job->status.error().message;
  EXPECT_EQ(job->end.reason, StopReason::kMaxTokens);
  EXPECT_EQ(job->end.tokens_out, 8);
  EXPECT_TRUE(job->saw_last);
  session_->send(SetPrompt{"Count from one to nine.", true});
  session_->send(session::Run{8});
  session_->wait_idle();
  const auto snapshot = session_->snapshot();
  ASSERT_EQ(snapshot->n_generated, 8);
  EXPECT_EQ(job->prompt_ids, snapshot->prompt_ids);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(job->ids[static_cast<std::size_t>(i)], snapshot->frame(snapshot->n_prompt() + i)->id);
  }
}

TEST_F(JobTest, WindowsSettings_ComeBack) {
  SamplerSettings mine;
  mine.temperature = 0.7F;
  mine.seed = 9;
  session_->send(SetSampler{mine});
  session_->wait_idle();
  const capture::Tier tier = session_->snapshot()->capture.tier;
  JobSettings settings = count_to_nine(2);
  settings.capture.tier = capture::Tier::kOff;
  run(settings);
  EXPECT_EQ(session_->snapshot()->sampler, mine);
  EXPECT_EQ(session_->snapshot()->capture.tier, tier);
}

TEST_F(JobTest, InjectedFaults_AreTakenOut) {
  const auto healthy = run(count_to_nine(4));
  session_->send(SetFaults{{"rope:off"}});
  const auto after = run(count_to_nine(4));
  EXPECT_EQ(after->ids, healthy->ids);
  EXPECT_TRUE(session_->snapshot()->faults.empty());
}

TEST_F(JobTest, Refused_EndsWithStop) {
  auto job = std::make_shared<Recorder>(count_to_nine(20));
  job->refuse_at = 3;
  run(job);
  EXPECT_TRUE(job->status.ok());
  EXPECT_EQ(job->end.reason, StopReason::kStop);
  EXPECT_EQ(job->end.tokens_out, 3);
}

TEST_F(JobTest, Cancelled_OnlyTheJobEnds) {
  auto job = std::make_shared<Recorder>(count_to_nine(2000));
  job->cancel_after = 3;
  run(job);
  ASSERT_FALSE(job->status.ok());
  EXPECT_EQ(job->status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(job->n_ended, 1);
  const auto next = run(count_to_nine(2));
  EXPECT_TRUE(next->status.ok());
}

TEST_F(JobTest, StopWhileItWaits_DoesNotTouchIt) {
  session_->send(SetPrompt{"Count from one to nine.", true});
  session_->send(session::Run{0});
  auto job = std::make_shared<Recorder>(count_to_nine(3));
  session_->send(RunJob{job});
  session_->send(Stop{});
  job->wait();
  EXPECT_TRUE(job->status.ok());
  EXPECT_EQ(job->end.tokens_out, 3);
}

TEST_F(JobTest, PromptTooLong_InvalidInput) {
  JobSettings settings = count_to_nine(4);
  for (int i = 0; i < 4000; ++i) {
    settings.prompt += " one two three";
  }
  const auto job = run(settings);
  ASSERT_FALSE(job->status.ok());
  EXPECT_EQ(job->status.error().code, ErrorCode::kInvalidInput);
  EXPECT_TRUE(job->ids.empty());
}

TEST_F(JobTest, Passes_CarryWholeTensors) {
  JobSettings settings = count_to_nine(3);
  settings.capture.tier = capture::Tier::kFull;
  auto job = std::make_shared<Recorder>(settings);
  job->passes_wanted = true;
  run(job);
  EXPECT_GT(job->tensors, 0U);
  const auto plain = run(count_to_nine(3));
  EXPECT_EQ(plain->ids, job->ids);
}

TEST(Job, WithoutAModel_EndsWithAnError) {
  Session session{SessionOptions{}};
  auto job = std::make_shared<Recorder>(count_to_nine(3));
  session.send(RunJob{job});
  job->wait();
  ASSERT_FALSE(job->status.ok());
  EXPECT_EQ(job->status.error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace layerscope::testing

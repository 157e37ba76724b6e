// The queue: bounded, one at a time, every job ends once whatever happens; text stays valid UTF-8.
#include "engine/server/job_queue.h"

#include <gtest/gtest.h>

#include "engine/base/utf8.h"
#include "tests/support/fixtures.h"

namespace layerscope::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = HttpJob::Clock;

class JobQueueTest : public ::testing::Test {
 protected:
  void SetUp() override {
    session_.send(session::LoadModel{testing::demo_model()});
    session_.wait_idle();
    ASSERT_NE(session_.snapshot()->model, nullptr);
  }

  /// After this prompt the demo model goes on and on at temperature 0.
  std::shared_ptr<HttpJob> job(const std::string& id, int tokens, double temperature = 0.0,
                               MakeRecorder recorder = {}) {
    ExecuteRequest request;
    request.job_id = id;
    request.settings.prompt = "zzz";
    request.settings.max_tokens = tokens;
    request.settings.sampler.temperature = static_cast<float>(temperature);
    request.settings.sampler.top_k = 0;
    request.settings.sampler.top_p = 1.0F;
    request.settings.sampler.min_p = 0.0F;
    request.save_trace = recorder != nullptr;
    return std::make_shared<HttpJob>(std::move(request), "correlation", "model",
                                     std::move(recorder), metrics_, false);
  }
  static std::string stream_of(const std::shared_ptr<HttpJob>& job) {
    EXPECT_TRUE(job->wait_ended(Clock::now() + seconds(30)));
    return job->stream().take(milliseconds(0), ~std::size_t{0} >> 1U).text;
  }
  /// Keeps the session busy so that jobs wait.
  void occupy() {
    session_.send(session::SetPrompt{"zzz", false});
    session_.send(session::Run{});
  }

  Metrics metrics_;
  session::Session session_{session::SessionOptions{}};
};

TEST_F(JobQueueTest, Jobs_AllEndInTurn) {
  JobQueue queue(session_, {});
  std::vector<std::shared_ptr<HttpJob>> jobs;
  for (int i = 0; i < 8; ++i) {
    jobs.push_back(job(std::to_string(i), 5));
    EXPECT_EQ(queue.submit(jobs.back()), JobQueue::Submitted::kAccepted);
  }
  for (const auto& each : jobs) {
    const std::string text = stream_of(each);
    EXPECT_NE(text.find("event: end"), std::string::npos) << text;
  }
}

TEST_F(JobQueueTest, Full_Refused_DuplicateNamed) {
  occupy();
  JobQueue queue(session_, {2, seconds(30), seconds(30)});
  std::vector<std::shared_ptr<HttpJob>> jobs;
  int accepted = 0;
  for (int i = 0; i < 10; ++i) {
    jobs.push_back(job(std::to_string(i), 5));
    accepted += queue.submit(jobs.back()) == JobQueue::Submitted::kAccepted ? 1 : 0;
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(accepted, 3);  // one with the session, two that wait
  EXPECT_EQ(queue.submit(job("0", 5)), JobQueue::Submitted::kDuplicate);
  session_.send(session::Stop{});
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(stream_of(jobs[static_cast<std::size_t>(i)]).find("event: end"), std::string::npos);
  }
}

TEST_F(JobQueueTest, Cancelled_WaitingAndRunning) {
  JobQueue queue(session_, {});
  const auto running = job("running", 2000);
  const auto waiting = job("waiting", 5);
  queue.submit(running);
  queue.submit(waiting);
  EXPECT_TRUE(queue.cancel("waiting", CancelReason::kRequested));
  EXPECT_NE(stream_of(waiting).find("cancelled on request"), std::string::npos);
  EXPECT_TRUE(queue.cancel("running", CancelReason::kDisconnected));
  EXPECT_NE(stream_of(running).find("\"code\":\"CANCELLED\""), std::string::npos);
  EXPECT_FALSE(queue.cancel("nothing", CancelReason::kRequested));
}

TEST_F(JobQueueTest, TimeLimits_EndJobs) {
  occupy();
  JobQueue queue(session_, {4, milliseconds(200), milliseconds(50)});
  const auto first = job("first", 5);  // waits behind the window's run until its limit
  const auto second = job("second", 5);
  queue.submit(first);
  std::this_thread::sleep_for(milliseconds(20));
  queue.submit(second);
  EXPECT_NE(stream_of(second).find("\"code\":\"TIMEOUT\""), std::string::npos);
  session_.send(session::Stop{});
  EXPECT_TRUE(first->wait_ended(Clock::now() + seconds(10)));
  const auto third = job("third", 2000);
  queue.submit(third);
  EXPECT_NE(stream_of(third).find("\"code\":\"TIMEOUT\""), std::string::npos);
}

TEST_F(JobQueueTest, Closed_EndsAllEvenBehindAWindow) {
  occupy();
  std::vector<std::shared_ptr<HttpJob>> jobs;
  {
    JobQueue queue(session_, {4, seconds(30), seconds(30)});
    for (int i = 0; i < 4; ++i) {
      jobs.push_back(job(std::to_string(i), 2000));
      queue.submit(jobs.back());
    }
    queue.close(milliseconds(0));
    EXPECT_EQ(queue.submit(job("late", 1)), JobQueue::Submitted::kClosed);
  }
  for (const auto& each : jobs) {
    EXPECT_NE(stream_of(each).find("shutting down"), std::string::npos);
  }
}

TEST_F(JobQueueTest, RandomTokens_TextIsValidUtf8AndNothingIsLost) {
  JobQueue queue(session_, {});
  const auto wild = job("wild", 300, 2.0);
  queue.submit(wild);
  const std::string text = stream_of(wild);
  EXPECT_TRUE(utf8_valid(text));
  std::string joined;
  int next = 0;
  for (std::size_t at = text.find("data: {\"t\":"); at != std::string::npos;
       at = text.find("data: {\"t\":", at + 1)) {
    const auto event = nlohmann::json::parse(text.substr(at + 6, text.find('\n', at) - at - 6));
    EXPECT_EQ(event.at("i").get<int>(), next++);
    EXPECT_TRUE(utf8_valid(event.at("t").get<std::string>()));
    joined += event.at("t").get<std::string>();
  }
  session::SamplerSettings sampler = wild->settings().sampler;
  session_.send(session::SetSampler{sampler});
  session_.send(session::SetPrompt{"zzz", false});
  session_.send(session::Run{300});
  session_.wait_idle();
  const auto state = session_.snapshot();
  tokenizer::StreamDecoder decoder(state->model->tokenizer);
  std::string expected;
  for (int i = state->n_prompt(); i < state->n_frames; ++i) {
    expected += state->model->tokenizer->is_end(state->frame(i)->id)
                    ? std::string()
                    : decoder.push(state->frame(i)->id);
  }
  EXPECT_EQ(joined, expected + decoder.finish());
}

/// Counts what a recorder is given.
struct Counts {
  int passes = 0, finished = 0, made = 0;
};
class CountingRecorder final : public JobRecorder {
 public:
  CountingRecorder(session::Generator& generator, Counts& counts) : counts_(counts) {
    ++counts_.made;
    generator.on_pass = [this](const capture::PassCapture&, std::span<const float> logits) {
      EXPECT_FALSE(logits.empty());
      ++counts_.passes;
    };
  }
  Result<std::string> finish() override {
    ++counts_.finished;
    return std::string("job-1.safetensors");
  }

 private:
  Counts& counts_;
};

TEST_F(JobQueueTest, Saved_EveryPassAndTheNameInTheEnd) {
  JobQueue queue(session_, {});
  Counts counts;
  const auto saved =
      job("saved", 4, 0.0, [&counts](session::Generator& generator, const auto&, const auto&) {
        return Result<std::unique_ptr<JobRecorder>>(
            std::make_unique<CountingRecorder>(generator, counts));
      });
  queue.submit(saved);
  EXPECT_NE(stream_of(saved).find("\"trace\":\"job-1.safetensors\""), std::string::npos);
  EXPECT_EQ(counts.made, 1);
  EXPECT_EQ(counts.finished, 1);
  EXPECT_EQ(counts.passes, 1 + 3);  // the prompt, and all tokens but the last
}

}  // namespace
}  // namespace layerscope::server

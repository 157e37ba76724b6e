// The session: commands from another thread, snapshots, interruption, and files that fail to load.
#include "engine/session/session.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using namespace session;  // NOLINT: the test is about this namespace

/// A session and a way to wait until its snapshot satisfies something.
class Harness {
 public:
  explicit Harness(SessionOptions options = {}) {
    options.on_change = [this] {
      { const std::lock_guard lock(mutex_); }
      changed_.notify_all();
    };
    session = std::make_unique<Session>(std::move(options));
  }
  ~Harness() { session.reset(); }

  std::shared_ptr<const Snapshot> after(Command command) {
    session->send(std::move(command));
    session->wait_idle();
    return session->snapshot();
  }

  bool wait(const std::function<bool(const Snapshot&)>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30),
                             [&] { return condition(*session->snapshot()); });
  }

  std::unique_ptr<Session> session;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

std::string text_of(const Snapshot& snapshot) {
  std::string text;
  for (int i = snapshot.n_prompt(); i < snapshot.n_frames; ++i) {
    text += snapshot.model->tokenizer->decode(snapshot.frame(i)->id);
  }
  return text;
}

constexpr const char* kHaiku = "Write a haiku about GPU computing. Use the word forty-six.";

TEST(Session, NoModel_EveryCommand_AnswersWithASentence) {
  Harness h;
  for (const Command& command : std::vector<Command>{Step{}, session::Run{}, Rewind{0},
                                                     ForceToken{1}, SetPrompt{"x", false}}) {
    const auto before = h.session->snapshot()->error_serial;
    const auto snapshot = h.after(command);
    EXPECT_EQ(snapshot->state, State::kEmpty);
    EXPECT_GT(snapshot->error_serial, before);
    EXPECT_FALSE(snapshot->error.empty());
  }
  h.after(Unload{});
  h.after(RequestHeadMap{0, 0});
}

TEST(Session, LoadPromptRun_EndsWithTheHaiku) {
  Harness h;
  auto s = h.after(LoadModel{demo_model()});
  ASSERT_EQ(s->state, State::kIdle) << s->error;
  ASSERT_NE(s->model, nullptr);
  EXPECT_EQ(s->model->architecture, "qwen2");
  s = h.after(SetPrompt{kHaiku, true});
  EXPECT_EQ(s->n_frames, 0);
  EXPECT_NE(s->fed_text.find("<|im_start|>user\n"), std::string::npos);
  s = h.after(session::Run{});
  EXPECT_EQ(s->stop_reason, StopReason::kEos);
  EXPECT_NE(text_of(*s).find("forty-six"), std::string::npos);
  EXPECT_GT(s->timing.decode_tok_s, 0.0);
  for (int i = 0; i < s->n_frames; ++i) {
    ASSERT_NE(s->frame(i), nullptr);
    EXPECT_EQ(s->frame(i)->position, i);
    EXPECT_EQ(s->frame(i)->attention_row(7, 7).size(), static_cast<std::size_t>(i) + 1);
    EXPECT_TRUE(s->frame(i)->logits.has_value()) << "a short prompt gets every distribution";
  }
  EXPECT_EQ(s->frame(s->n_frames), nullptr);
}

TEST(Session, StepFive_GivesFiveTokens_StepAgainGoesOn) {
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{kHaiku, true});
  auto s = h.after(Step{5});
  EXPECT_EQ(s->n_generated, 5);
  EXPECT_EQ(s->state, State::kIdle);
  s = h.after(Step{});
  EXPECT_EQ(s->n_generated, 6);
  EXPECT_EQ(s->frame(s->n_frames - 1)->choice.origin, capture::Origin::kSampled);
  EXPECT_EQ(s->frame(s->n_frames - 1)->choice.rank, 0);
}

TEST(Session, StepZero_OnlyEvaluatesThePrompt) {
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{"Once upon a time", false});
  const auto s = h.after(Step{0});
  EXPECT_EQ(s->n_frames, s->n_prompt());
  EXPECT_GT(s->n_frames, 0);
}

TEST(Session, StepByStep_EqualsOneRun) {
  Harness a, b;
  for (Harness* h : {&a, &b}) {
    h->after(LoadModel{demo_model()});
    SamplerSettings sampler;
    sampler.temperature = 1.0F;
    sampler.seed = 5;
    h->after(SetSampler{sampler});
    h->after(SetPrompt{kHaiku, true});
  }
  const auto run = a.after(session::Run{12});
  std::shared_ptr<const Snapshot> stepped;
  for (int i = 0; i < run->n_generated; ++i) {
    stepped = b.after(Step{});
  }
  EXPECT_EQ(text_of(*run), text_of(*stepped));
}

TEST(Session, RewindAndForce_MakesABranchAndRepeatsBitForBit) {
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{kHaiku, true});
  const auto first = h.after(session::Run{});
  const int at = first->n_prompt() + 3;
  auto s = h.after(Rewind{at - 1});
  EXPECT_EQ(s->n_frames, at);
  const std::int32_t other = first->frame(at - 1)->logits->top[1].id;
  s = h.after(ForceToken{other});
  EXPECT_EQ(s->frame(at)->id, other);
  EXPECT_EQ(s->frame(at)->choice.origin, capture::Origin::kForced);
  EXPECT_EQ(s->frame(at)->choice.rank, 1);
  EXPECT_NE(s->frame(at)->serial, first->frame(at)->serial);
  h.after(Rewind{at - 1});
  s = h.after(session::Run{});
  EXPECT_EQ(text_of(*s), text_of(*first));
  EXPECT_EQ(first->n_frames, s->n_frames) << "the old snapshot still stands beside the new one";
}

TEST(Session, ForcePaddedRow_IsRefused) {
  Harness h;
  auto s = h.after(LoadModel{demo_model()});
  h.after(SetPrompt{kHaiku, true});
  s = h.after(Step{});
  const int frames = s->n_frames;
  s = h.after(ForceToken{s->model->vocab_rows - 1});
  EXPECT_FALSE(s->error.empty());
  EXPECT_EQ(s->n_frames, frames);
}

TEST(Session, PauseWhileRunning_StopsAndRunGoesOn) {
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{"one two three", false});
  h.session->send(session::Run{});
  ASSERT_TRUE(h.wait([](const Snapshot& s) { return s.n_generated >= 2; }));
  auto s = h.after(Pause{});
  EXPECT_EQ(s->state, State::kIdle);
  const int n = s->n_generated;
  EXPECT_GE(n, 2);
  s = h.after(Step{2});
  EXPECT_EQ(s->n_generated, n + 2);
}

TEST(Session, Pace_SlowsARun_ChangesNothingElse_AndPauseEndsItsWait) {
  using Clock = std::chrono::steady_clock;
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{kHaiku, true});
  const auto fast = h.after(session::Run{6});
  std::vector<std::int32_t> ids;
  for (int i = 0; i < fast->n_frames; ++i) {
    ids.push_back(fast->frame(i)->id);
  }
  h.after(SetPrompt{kHaiku, true});
  h.after(Step{0});
  EXPECT_TRUE(h.session->set_pace(20.0));
  auto began = Clock::now();
  const auto slow = h.after(session::Run{6});
  const std::chrono::duration<double> took = Clock::now() - began;
  EXPECT_GE(took.count(), 0.25) << "five waits of 50 ms each lie between six tokens";
  ASSERT_EQ(slow->n_frames, fast->n_frames);
  for (int i = 0; i < slow->n_frames; ++i) {
    EXPECT_EQ(slow->frame(i)->id, ids[static_cast<std::size_t>(i)]);
  }
  // One token in two seconds; Pause does not wait for the end of them.
  h.session->set_pace(0.5);
  h.after(SetPrompt{kHaiku, true});
  h.after(Step{0});
  h.session->send(session::Run{});
  ASSERT_TRUE(h.wait([](const Snapshot& s) { return s.n_generated >= 1; }));
  began = Clock::now();
  const auto paused = h.after(Pause{});
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - began).count(), 1.0);
  EXPECT_EQ(paused->n_generated, 1);
  // Set free in the middle of a wait, it runs on at once.
  h.session->send(session::Run{4});
  ASSERT_TRUE(h.wait([](const Snapshot& s) { return s.n_generated >= 2; }));
  h.session->set_pace(0.0);
  began = Clock::now();
  ASSERT_TRUE(h.wait([](const Snapshot& s) { return s.n_generated >= 5; }));
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - began).count(), 2.0);
}

TEST(Session, PauseRightAfterRun_IsNotLost) {
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{kHaiku, true});
  h.session->send(session::Run{});
  const auto s = h.after(Pause{});
  EXPECT_LT(s->n_generated, 400) << "the run must not go on to the end of the context";
  EXPECT_EQ(s->state, State::kIdle);
}

TEST(Session, Stop_DuringPromptEvaluation_CancelsAndPromptCanBeFinished) {
  Harness h;
  h.after(LoadModel{demo_model()});
  std::string text;
  for (int i = 0; i < 120; ++i) {
    text += " one two three";
  }
  const auto prompt = h.after(SetPrompt{text, false});
  ASSERT_GT(prompt->n_prompt(), 200);
  h.session->send(Step{});
  ASSERT_TRUE(h.wait([](const Snapshot& s) { return s.state == State::kEvaluating; }));
  auto s = h.after(Stop{});
  EXPECT_EQ(s->state, State::kIdle);
  EXPECT_EQ(s->stop_reason, StopReason::kCancelled);
  EXPECT_EQ(s->n_generated, 0);
  s = h.after(Step{});
  EXPECT_EQ(s->n_generated, 1);
  EXPECT_EQ(s->n_frames, prompt->n_prompt() + 1);
}

TEST(Session, Stop_DropsQueuedSteps) {
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{"one two three", false});
  for (int i = 0; i < 50; ++i) {
    h.session->send(Step{100});
  }
  const auto s = h.after(Stop{});
  EXPECT_LT(s->n_frames, 512) << "fifty times a hundred steps would fill the context";
}

TEST(Session, SecondBadFile_FirstOneKeepsWorking) {
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{kHaiku, true});
  const auto before = h.after(Step{3});
  const std::string bad =
      (std::filesystem::temp_directory_path() / "layerscope_bad_file_test.gguf").string();
  std::ofstream(bad, std::ios::binary) << "GGUF but not really";
  auto s = h.after(LoadModel{bad});
  std::filesystem::remove(bad);
  EXPECT_FALSE(s->error.empty());
  EXPECT_EQ(s->state, State::kIdle);
  EXPECT_EQ(s->model->path, before->model->path);
  EXPECT_EQ(s->n_frames, before->n_frames);
  s = h.after(LoadModel{"/nowhere/at/all.gguf"});
  EXPECT_NE(s->error.find("/nowhere/at/all.gguf"), std::string::npos);
  s = h.after(Step{});
  EXPECT_EQ(s->n_generated, before->n_generated + 1);
  EXPECT_TRUE(s->error.empty()) << "success clears the error";
}

TEST(Session, LoadAnother_ReplacesModelAndForgetsThePrompt) {
  Harness h;
  h.after(LoadModel{demo_model()});
  h.after(SetPrompt{kHaiku, true});
  h.after(Step{2});
  const auto s = h.after(LoadModel{golden("llama", "model.gguf")});
  EXPECT_EQ(s->model->architecture, "llama");
  EXPECT_EQ(s->n_frames, 0);
  EXPECT_TRUE(s->prompt_ids.empty());
  const auto empty = h.after(Unload{});
  EXPECT_EQ(empty->state, State::kEmpty);
  EXPECT_EQ(empty->model, nullptr);
}

TEST(Session, EmptyAndTooLongPrompts_AreRefused_OldSessionStays) {
  SessionOptions options;
  options.context = 16;
  Harness h(std::move(options));
  h.after(LoadModel{golden("qwen2", "model.gguf")});
  h.after(SetPrompt{"abc", false});
  const auto before = h.after(Step{});
  auto s = h.after(SetPrompt{"", false});
  EXPECT_NE(s->error.find("empty"), std::string::npos);
  s = h.after(SetPrompt{std::string(500, 'x') + " y z", false});
  EXPECT_NE(s->error.find("context"), std::string::npos);
  EXPECT_EQ(s->n_frames, before->n_frames);
  s = h.after(session::Run{});
  EXPECT_TRUE(s->stop_reason == StopReason::kContextFull || s->stop_reason == StopReason::kEos);
  EXPECT_LE(s->n_frames, 16);
}

TEST(Session, HeadMap_OnRequest_EqualsCapturedRows) {
  Harness h;
  h.after(LoadModel{golden("qwen2", "model.gguf")});
  h.after(SetPrompt{"hello there, world", false});
  auto s = h.after(Step{3});
  s = h.after(RequestHeadMap{1, 2});
  ASSERT_NE(s->head_map, nullptr);
  const auto n = static_cast<std::size_t>(s->head_map->n_tokens);
  ASSERT_EQ(n, static_cast<std::size_t>(s->n_frames));
  for (std::size_t q = 0; q < n; ++q) {
    const auto row = s->frame(static_cast<int>(q))->attention_row(1, 2);
    for (std::size_t k = 0; k < n; ++k) {
      EXPECT_EQ(s->head_map->probabilities[q * n + k], k <= q ? row[k] : 0.0F);
    }
  }
  s = h.after(RequestHeadMap{9, 0});
  EXPECT_FALSE(s->error.empty());
}

TEST(Session, CaptureOff_FramesHaveNoStatistics_SameText) {
  Harness on, off;
  on.after(LoadModel{demo_model()});
  off.after(LoadModel{demo_model()});
  off.after(SetCapture{capture::Request{}});
  on.after(SetPrompt{kHaiku, true});
  off.after(SetPrompt{kHaiku, true});
  const auto a = on.after(session::Run{});
  const auto b = off.after(session::Run{});
  EXPECT_EQ(text_of(*a), text_of(*b));
  EXPECT_FALSE(b->frame(0)->has_stats());
  EXPECT_TRUE(b->frame(0)->attention_row(0, 0).empty());
}

TEST(Session, DestroyedInTheMiddle_EndsCleanly) {
  for (int round = 0; round < 5; ++round) {
    Harness h;
    h.session->send(LoadModel{demo_model()});
    h.session->send(SetPrompt{kHaiku, true});
    h.session->send(session::Run{});
    if (round % 2 == 0) {
      h.wait([](const Snapshot& s) { return s.n_frames > 0; });
    }
  }
}

TEST(Session, CommandsFromSeveralThreads_SnapshotsStayConsistent) {
  Harness h;
  h.after(LoadModel{golden("qwen2", "model.gguf")});
  h.after(SetPrompt{"abc def", false});
  std::atomic<bool> done{false};
  std::thread reader([&] {
    std::uint64_t version = 0;
    while (!done) {
      const auto s = h.session->snapshot();
      EXPECT_GE(s->version, version);
      version = s->version;
      for (int i = 0; i < s->n_frames; ++i) {
        ASSERT_EQ(s->frame(i)->position, i);
      }
    }
  });
  std::vector<std::thread> writers;
  for (unsigned w = 0; w < 3; ++w) {
    writers.emplace_back([&h, w] {
      std::mt19937 rng(w);
      for (int i = 0; i < 60; ++i) {
        switch (rng() % 6) {
          case 0:
            h.session->send(Rewind{static_cast<int>(rng() % 8)});
            break;
          case 1:
            h.session->send(ForceToken{static_cast<std::int32_t>(rng() % 300)});
            break;
          case 2:
            h.session->send(Pause{});
            break;
          case 3:
            h.session->send(Stop{});
            break;
          case 4:
            h.session->send(RequestHeadMap{0, 1});
            break;
          default:
            h.session->send(Step{3});
        }
      }
    });
  }
  for (auto& writer : writers) {
    writer.join();
  }
  h.session->wait_idle();
  done = true;
  reader.join();
  EXPECT_EQ(h.session->snapshot()->state, State::kIdle);
}

}  // namespace
}  // namespace layerscope::testing

// Recorded traces as sessions: an exported session shows the same numbers, plays through its steps,
// and what it does not hold is said.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/compare/registry.h"
#include "engine/session/session.h"
#include "engine/session/trace_export.h"
#include "engine/session/trace_session.h"
#include "tests/engine/format/temp_file.h"
#include "tests/support/architectures.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using namespace session;  // NOLINT: the test is about this namespace

std::shared_ptr<const Snapshot> after(Session& session, Command command) {
  session.send(std::move(command));
  session.wait_idle();
  return session.snapshot();
}

void wait(const SessionLink& link) {
  for (int i = 0; i < 6000 && !link.idle(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(link.idle());
}

std::shared_ptr<const Snapshot> after(TraceSession& trace, Command command) {
  trace.send(std::move(command));
  wait(trace);
  return trace.snapshot();
}

std::unique_ptr<TraceSession> opened(const std::string& path, std::uint64_t budget = 1U << 30U) {
  TraceSessionOptions options;
  options.path = path;
  options.steps_per_second = 200.0;
  options.history_budget = budget;
  auto trace = std::make_unique<TraceSession>(std::move(options));
  wait(*trace);
  return trace;
}

/// On the CPU, or where LS_TEST_BACKEND says: the comparisons pass on a GPU too.
SessionOptions test_options() {
  const char* backend = std::getenv("LS_TEST_BACKEND");
  SessionOptions options;
  options.backend = backend != nullptr ? backend : "cpu";
  options.threads = 2;
  return options;
}

/// A live session of the demo: a prompt and six tokens.
class Live {
 public:
  Live() : session(test_options()) {
    after(session, LoadModel{demo_model()});
    after(session, SetPrompt{"Write a haiku about rain. Use the word seven.", true});
    after(session, Step{6});
  }
  Session session;
};

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void expect_same_frames(const Snapshot& a, const Snapshot& b) {
  ASSERT_EQ(a.n_frames, b.n_frames);
  for (int p = 0; p < a.n_frames; ++p) {
    SCOPED_TRACE(p);
    const capture::TokenFrame& x = *a.frame(p);
    const capture::TokenFrame& y = *b.frame(p);
    EXPECT_EQ(x.id, y.id);
    EXPECT_EQ(x.choice.origin, y.choice.origin);
    EXPECT_EQ(x.choice.known, y.choice.known);
    EXPECT_EQ(x.choice.rank, y.choice.rank);
    EXPECT_TRUE(same(x.choice.prob, y.choice.prob));
    EXPECT_TRUE(same(x.choice.logprob, y.choice.logprob));
    ASSERT_EQ(x.taps.size(), y.taps.size());
    for (std::size_t i = 0; i < x.taps.size(); ++i) {
      EXPECT_TRUE(same(x.taps[i].l2, y.taps[i].l2));
      EXPECT_TRUE(same(x.taps[i].absmax, y.taps[i].absmax));
      EXPECT_EQ(x.taps[i].count, y.taps[i].count);
      EXPECT_EQ(x.taps[i].zeros, y.taps[i].zeros);
    }
    ASSERT_EQ(x.heads.size(), y.heads.size());
    for (std::size_t i = 0; i < x.heads.size(); ++i) {
      EXPECT_TRUE(same(x.heads[i].row_sum, y.heads[i].row_sum));
      EXPECT_TRUE(same(x.heads[i].entropy, y.heads[i].entropy));
      EXPECT_TRUE(same(x.heads[i].lse, y.heads[i].lse));
      EXPECT_EQ(x.heads[i].argmax, y.heads[i].argmax);
    }
    for (int layer = 0; layer < x.n_layers; ++layer) {
      for (int head = 0; head < x.n_heads; ++head) {
        const auto r = x.attention_row(layer, head);
        const auto s = y.attention_row(layer, head);
        ASSERT_EQ(r.size(), s.size());
        EXPECT_TRUE(std::equal(r.begin(), r.end(), s.begin(), same));
      }
    }
    ASSERT_EQ(x.logits.has_value(), y.logits.has_value());
    if (x.logits) {
      ASSERT_EQ(x.logits->top.size(), y.logits->top.size());
      for (std::size_t i = 0; i < x.logits->top.size(); ++i) {
        EXPECT_EQ(x.logits->top[i].id, y.logits->top[i].id);
        EXPECT_TRUE(same(x.logits->top[i].logit, y.logits->top[i].logit));
        EXPECT_TRUE(same(x.logits->top[i].prob, y.logits->top[i].prob));
      }
      EXPECT_TRUE(same(x.logits->entropy, y.logits->entropy));
      EXPECT_NEAR(x.logits->lse, y.logits->lse, 1e-9);
      EXPECT_EQ(x.logits->best_padded.id, y.logits->best_padded.id);
    }
  }
}

TEST(TraceSession, ExportedSession_Reopened_ShowsTheSameNumbers) {
  Live live;
  const auto before = live.session.snapshot();
  const TempFile folder("", "unused");
  const std::string path = folder.folder() + "/session.safetensors";
  const auto report = write_session_trace(*before, path, {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  // Rows that stay on a GPU are not in this export, and it says so.
  const bool on_host = before->backend == "cpu";
  EXPECT_EQ(report.value().without_rows, on_host ? 0 : before->n_frames);
  EXPECT_TRUE(opens_as_trace(path));
  const auto trace = opened(path);
  const auto now = trace->snapshot();
  ASSERT_NE(now->recording, nullptr) << now->error;
  EXPECT_TRUE(trace->link().recording);
  expect_same_frames(*before, *now);
  EXPECT_EQ(now->prompt, before->prompt);
  EXPECT_EQ(now->n_prompt(), before->n_prompt());
  EXPECT_EQ(now->model->architecture, "qwen2");
  EXPECT_EQ(now->model->n_layers, before->model->n_layers);
  EXPECT_EQ(now->recording->attention.empty(), on_host);
  EXPECT_NE(now->recording->tensors, "") << "no whole tensors were exported";
  // Texts come with it: of the tokens, and of those that might have followed.
  for (int p = 0; p < now->n_frames; ++p) {
    const capture::TokenFrame& frame = *before->frame(p);
    EXPECT_EQ(now->model->tokenizer->decode(frame.id, true),
              before->model->tokenizer->decode(frame.id, true));
    for (const capture::TopToken& token : frame.logits->top) {
      EXPECT_EQ(now->model->tokenizer->decode(token.id),
                before->model->tokenizer->decode(token.id));
    }
  }
  EXPECT_EQ(now->model->n_padded, before->model->n_padded);
}

TEST(TraceSession, WholeExport_HoldsEveryTensor_AndFindingsAndFaults) {
  Live live;
  after(live.session, SetFaults{{"nan:2"}});
  after(live.session, Step{2});
  const auto s = after(live.session, MakeTrace{});
  ASSERT_NE(s->trace, nullptr) << s->error;
  ASSERT_TRUE(trace_is_present(*s));
  ASSERT_FALSE(s->findings.empty());
  const TempFile folder("", "unused");
  const std::string path = folder.folder() + "/whole.safetensors";
  TraceExportOptions whole;
  whole.whole = true;
  ASSERT_TRUE(write_session_trace(*s, path, whole).ok());
  const auto trace = opened(path);
  auto now = trace->snapshot();
  ASSERT_NE(now->recording, nullptr) << now->error;
  EXPECT_EQ(now->recording->tensors, "");
  EXPECT_EQ(now->faults, std::vector<std::string>{"nan:2"});
  ASSERT_EQ(now->findings.size(), s->findings.size());
  EXPECT_EQ(now->findings[0].cause, s->findings[0].cause);
  EXPECT_EQ(now->findings[0].message, s->findings[0].message);
  EXPECT_EQ(now->findings[0].layer, s->findings[0].layer);
  now = after(*trace, InspectToken{3, 0});
  ASSERT_NE(now->token_detail, nullptr);
  EXPECT_EQ(now->token_detail->error, "");
  const auto live_detail = after(live.session, InspectToken{3, 0})->token_detail;
  if (!live_detail->error.empty()) {
    GTEST_SKIP() << "this backend inspects no tokens: " << live_detail->error;
  }
  int compared = 0;
  for (const capture::FullTensor& x : now->token_detail->pass.tensors) {
    for (const capture::FullTensor& y : live_detail->pass.tensors) {
      if (x.tap == y.tap && x.layer == y.layer) {
        EXPECT_EQ(x.shape, y.shape) << capture::tap_name(x.tap) << ": they could not be subtracted";
      }
      if (x.tap == y.tap && x.layer == y.layer && x.tap == capture::Tap::kResidOut && x.layer < 2) {
        ASSERT_EQ(x.values.size(), y.values.size());
        for (std::size_t i = 0; i < x.values.size(); ++i) {
          EXPECT_NEAR(x.values[i], y.values[i], 1e-4F * (1.0F + std::fabs(y.values[i])));
        }
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 2);
}

TEST(TraceSession, Transport_PlaysTheRecordedSteps) {
  Live live;
  const auto live_now = live.session.snapshot();
  const TempFile folder("", "unused");
  const std::string path = folder.folder() + "/session.safetensors";
  ASSERT_TRUE(write_session_trace(*live_now, path, {}).ok());
  const auto trace = opened(path);
  const int all = trace->snapshot()->n_frames;
  const int prompt = trace->snapshot()->n_prompt();
  EXPECT_EQ(all, live_now->n_frames) << "everything recorded shows at once";
  auto s = after(*trace, SetPrompt{"ignored", false});
  EXPECT_EQ(s->n_frames, prompt) << "restart: the prompt stands there";
  s = after(*trace, Step{1});
  EXPECT_EQ(s->n_frames, prompt + 1);
  EXPECT_EQ(s->n_generated, 1);
  s = after(*trace, Rewind{prompt - 1});
  EXPECT_EQ(s->n_frames, prompt);
  s = after(*trace, session::Run{});
  EXPECT_EQ(s->n_frames, all);
  EXPECT_EQ(s->state, State::kIdle);
  s = after(*trace, Step{5});
  EXPECT_EQ(s->n_frames, all) << "nothing was recorded after the end";
  // Pause stops it between two steps.
  trace->set_pace(4.0);
  after(*trace, SetPrompt{"", false});
  trace->send(session::Run{});
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  s = after(*trace, Pause{});
  EXPECT_LT(s->n_frames, all);
  EXPECT_GT(s->n_frames, prompt);
  // A faster pace counts at once, in the middle of a step that would take ten seconds.
  trace->set_pace(0.1);
  after(*trace, SetPrompt{"", false});
  trace->send(session::Run{});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  trace->set_pace(0.0);
  const auto freed = std::chrono::steady_clock::now();
  while (!trace->idle() && std::chrono::steady_clock::now() - freed < std::chrono::seconds(5)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(trace->snapshot()->n_frames, all);
  s = after(*trace, Rewind{prompt});
  // What a recording cannot do is refused in a sentence, and changes nothing.
  for (const Command& command : std::vector<Command>{ForceToken{5}, SetFaults{{"rope:off"}},
                                                     SetTokens{{1, 2}}, DiagnoseNow{}}) {
    const auto shown = s->n_frames;
    s = after(*trace, command);
    EXPECT_NE(s->error, "");
    EXPECT_EQ(s->n_frames, shown);
  }
}

TEST(TraceSession, SmallBudget_DropsOldRows_TheMapBringsThemBack) {
  Live live;
  const auto before = live.session.snapshot();
  if (before->backend != "cpu") {
    GTEST_SKIP() << "the rows of this backend are not on the host";
  }
  const TempFile folder("", "unused");
  const std::string path = folder.folder() + "/session.safetensors";
  ASSERT_TRUE(write_session_trace(*before, path, {}).ok());
  const auto trace = opened(path, 40000);
  auto s = trace->snapshot();
  EXPECT_GT(s->history.without_rows, 0);
  EXPECT_TRUE(s->frame(2)->attention_row(1, 1).empty());
  EXPECT_FALSE(s->frame(s->n_frames - 1)->attention_row(1, 1).empty());
  s = after(*trace, RequestHeadMap{1, 1});
  ASSERT_NE(s->head_map, nullptr);
  const auto row = before->frame(2)->attention_row(1, 1);
  const auto n = static_cast<std::size_t>(s->head_map->n_tokens);
  for (std::size_t k = 0; k < row.size(); ++k) {
    EXPECT_EQ(s->head_map->probabilities[2 * n + k], row[k]);
  }
}

TEST(TraceSession, EvalCallbackLog_OpensWithWhatItHas) {
  const std::string path = any_golden("llama", "eval-callback.log");
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no eval-callback log here";
  }
  EXPECT_TRUE(opens_as_trace(path));
  const auto trace = opened(path);
  const auto s = trace->snapshot();
  ASSERT_NE(s->recording, nullptr) << s->error;
  EXPECT_GT(s->n_frames, 0);
  EXPECT_GT(s->model->n_layers, 0);
  EXPECT_NE(s->recording->attention.find("prints only"), std::string::npos);
}

TEST(TraceSession, BrokenFiles_SayWhatIsWrong) {
  Live live;
  const TempFile folder("", "unused");
  const std::string path = folder.folder() + "/session.safetensors";
  ASSERT_TRUE(write_session_trace(*live.session.snapshot(), path, {}).ok());
  std::filesystem::resize_file(path, 3000);
  const auto cut = opened(path);
  EXPECT_EQ(cut->reader(), nullptr);
  EXPECT_NE(cut->snapshot()->error.find("session.safetensors"), std::string::npos);
  const auto absent = opened(folder.folder() + "/absent.safetensors");
  EXPECT_NE(absent->snapshot()->error.find("does not exist"), std::string::npos);
  EXPECT_FALSE(opens_as_trace(demo_model()));
  EXPECT_FALSE(opens_as_trace(folder.folder()));
  // Nothing evaluated, nothing to export; no file is left where it fails.
  Snapshot empty;
  EXPECT_FALSE(write_session_trace(empty, folder.folder() + "/none.safetensors", {}).ok());
  EXPECT_FALSE(std::filesystem::exists(folder.folder() + "/none.safetensors"));
  EXPECT_FALSE(write_session_trace(*live.session.snapshot(), "/proc/none/x.safetensors", {}).ok());
}

TEST(TraceSession, DiagnoseNow_WithTheModel_NamesTheFault) {
  Live live;
  after(live.session, SetFaults{{"transpose:blk.0.attn_q.weight"}});
  after(live.session, Step{1});
  const auto s = after(live.session, MakeTrace{});
  ASSERT_NE(s->trace, nullptr) << s->error;
  TraceSessionOptions options;
  options.trace = s->trace;
  options.model_path = demo_model();
  TraceSession trace(std::move(options));
  wait(trace);
  const auto now = after(trace, DiagnoseNow{});
  ASSERT_FALSE(now->findings.empty()) << now->error;
  EXPECT_EQ(now->findings[0].cause, "transposed-weight");
}

}  // namespace
}  // namespace layerscope::testing

// The history's memory budget: what is dropped, what stays, what is told, and how much memory the
// process really takes.
#include "engine/session/history.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstddef>
#include <cstring>
#include <random>

#include "engine/session/history_use.h"
#include "engine/session/session.h"
#include "engine/session/trace_export.h"
#include "tests/engine/format/temp_file.h"
#include "tests/support/fixtures.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();  // their malloc has no mallinfo2
#endif

namespace layerscope::testing {
namespace {

using namespace session;  // NOLINT: the test is about this namespace
using capture::Detail;
using capture::TokenFrame;

constexpr std::size_t kTaps = 40, kHeads = 12, kRow = 300;

History::Frame frame_of(int position, std::uint64_t serial) {
  auto frame = std::make_shared<TokenFrame>();
  frame->serial = serial;
  frame->position = position;
  frame->id = position * 3;
  frame->taps.resize(kTaps);
  frame->heads.resize(kHeads);
  frame->attention = std::make_shared<const capture::AttentionRows>(std::vector<float>(kRow, 0.5F));
  frame->logits.emplace().top.resize(capture::kTopTokens);
  frame->logits->top[0] = {position, 1.5F, 0.25F};
  frame->logits->entropy = 2.5F;
  return frame;
}

/// What the history says of itself is what its frames say.
void expect_accounts(const History& history) {
  capture::FrameMemory sum;
  int without_rows = 0;
  int without_statistics = 0;
  for (const History::Frame& frame : history.frames()) {
    sum += capture::memory_of(*frame);
    without_rows += frame->detail < Detail::kAll ? 1 : 0;
    without_statistics += frame->detail < Detail::kStatistics ? 1 : 0;
  }
  EXPECT_EQ(history.memory().summary, sum.summary);
  EXPECT_EQ(history.memory().statistics, sum.statistics);
  EXPECT_EQ(history.memory().rows, sum.rows);
  EXPECT_EQ(history.memory().device_rows, sum.device_rows);
  EXPECT_EQ(history.without_rows(), without_rows);
  EXPECT_EQ(history.without_statistics(), without_statistics);
}

TEST(History, Limit_DropsOldestRowsThenStatistics_SummariesStay) {
  History history;
  for (int p = 0; p < 100; ++p) {
    history.append(frame_of(p, static_cast<std::uint64_t>(p) + 1));
  }
  const capture::FrameMemory all = history.memory();
  history.limit_host(all.host() - all.rows / 2);
  expect_accounts(history);
  EXPECT_NEAR(history.without_rows(), 50, 1);
  EXPECT_EQ(history.without_statistics(), 0);
  EXPECT_EQ(history.frames()[0]->detail, Detail::kStatistics);
  EXPECT_EQ(history.frames()[99]->detail, Detail::kAll);
  history.limit_host(all.summary + all.statistics / 4);
  expect_accounts(history);
  EXPECT_EQ(history.without_rows(), 98) << "rows before any statistics";
  EXPECT_NEAR(history.without_statistics(), 77, 3);
  history.limit_host(0);
  expect_accounts(history);
  EXPECT_EQ(history.without_statistics(), 98) << "the newest frames keep everything";
  const TokenFrame& oldest = *history.frames()[0];
  EXPECT_EQ(oldest.id, 0);
  EXPECT_TRUE(oldest.taps.empty());
  ASSERT_TRUE(oldest.logits);
  ASSERT_EQ(oldest.logits->top.size(), 1U);
  EXPECT_EQ(oldest.logits->top[0].prob, 0.25F);
  EXPECT_EQ(oldest.logits->entropy, 2.5F);
  EXPECT_EQ(history.frames()[99]->taps.size(), kTaps);
}

TEST(History, RandomChanges_ChunksAndAccountsAreThoseOfTheFrames) {
  std::mt19937 random(7);  // NOLINT: the same numbers every time
  History history;
  int reductions = 0;
  history.on_reduce = [&](std::size_t position, const History::Frame& before,
                          const History::Frame& after) {
    ++reductions;
    EXPECT_EQ(before->serial, after->serial);
    EXPECT_EQ(history.frames()[position], after);
  };
  std::vector<std::shared_ptr<const FrameChunk>> chunks;
  std::uint64_t serial = 0;
  for (int round = 0; round < 400; ++round) {
    const auto n = history.frames().size();
    switch (random() % 8) {
      case 0:
        history.truncate(n - random() % (n + 1) / 3);
        break;
      case 1:
        history.limit_host(history.memory().host() / 10 * (5 + random() % 6));
        break;
      case 2:
        history.limit_rows(history.row_bytes() / 10 * (5 + random() % 6));
        break;
      case 3:
        if (random() % 8 == 0) {
          History::Line other(history.frames().begin(),
                              history.frames().begin() + static_cast<std::ptrdiff_t>(n / 2));
          other.push_back(frame_of(static_cast<int>(n / 2), ++serial));
          history.adopt(std::move(other));
        }
        break;
      default:
        for (std::size_t i = 0; i < random() % 40; ++i) {
          history.append(frame_of(static_cast<int>(history.frames().size()), ++serial));
        }
    }
    if (random() % 3 == 0) {
      history.update(chunks);
      std::size_t at = 0;
      for (const auto& chunk : chunks) {
        for (const auto& frame : chunk->frames) {
          ASSERT_LT(at, history.frames().size());
          ASSERT_EQ(frame, history.frames()[at++]);
        }
      }
      ASSERT_EQ(at, history.frames().size());
    }
    expect_accounts(history);
  }
  EXPECT_GT(reductions, 0);
}

TEST(History, OneMoreFrame_MakesOneChunkAnew) {
  History history;
  std::vector<std::shared_ptr<const FrameChunk>> chunks;
  for (int p = 0; p < 1000; ++p) {
    history.append(frame_of(p, static_cast<std::uint64_t>(p) + 1));
  }
  history.update(chunks);
  const auto before = chunks;
  history.append(frame_of(1000, 1001));
  history.limit_host(history.memory().host() - 1);  // and the oldest loses its rows
  history.update(chunks);
  ASSERT_EQ(chunks.size(), before.size());
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    EXPECT_EQ(chunks[c] != before[c], c == 0 || c + 1 == chunks.size()) << c;
  }
}

// ---- The whole session --------------------------------------------------------------------------

constexpr int kPrompt = 700;
constexpr int kGenerated = 300;

struct Played {
  std::unique_ptr<Session> session;
  std::shared_ptr<const Snapshot> last;
  std::uint64_t grown = 0;  ///< bytes that malloc gave out for the tokens and that are held

  explicit Played(std::uint64_t budget) {
    SessionOptions options;
    options.backend = "cpu";
    options.context = kPrompt + kGenerated + 64;
    options.history_budget = budget;
    session = std::make_unique<Session>(options);
    after(LoadModel{golden("qwen2", "model.gguf")});
    std::vector<std::int32_t> ids;
    for (int i = 0; i < kPrompt; ++i) {
      ids.push_back(5 + i * 7 % 200);
    }
    after(SetTokens{ids});
    const std::uint64_t before = held();
    after(Step{kGenerated});
    grown = held() - before;
  }
  std::shared_ptr<const Snapshot> after(Command command) {
    session->send(std::move(command));
    session->wait_idle();
    last = session->snapshot();
    return last;
  }
  static std::uint64_t held() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return __sanitizer_get_current_allocated_bytes();
#else
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#endif
  }
};

TEST(HistoryBudget, TinyBudget_HoldsInMemory_KeptStepsAreTheSame_DroppedOnesSaySo) {
  const Played whole(std::uint64_t{8} << 30U);
  ASSERT_EQ(whole.last->error, "");
  const int n = whole.last->n_frames;
  ASSERT_EQ(n, kPrompt + kGenerated);
  EXPECT_EQ(whole.last->history.without_rows, 0);
  EXPECT_GT(whole.last->history.host(), std::uint64_t{20} << 20U);
  EXPECT_NEAR(static_cast<double>(whole.last->history.host()), static_cast<double>(whole.grown),
              0.1 * static_cast<double>(whole.grown) + 1e6)
      << "what is accounted is what malloc gave out";

  const std::uint64_t budget = std::uint64_t{3} << 20U;
  Played tiny(budget);
  const auto s = tiny.last;
  ASSERT_EQ(s->n_frames, n);
  EXPECT_EQ(s->history.budget, budget);
  EXPECT_LE(s->history.host(), budget);
  EXPECT_LE(tiny.grown, budget + (std::uint64_t{2} << 20U)) << "allocated, whatever is accounted";
  EXPECT_GT(s->history.without_rows, n / 2);
  EXPECT_GT(s->history.without_statistics, 0);
  EXPECT_LT(s->history.without_statistics, n);
  int summaries = 0;
  for (int p = 0; p < n; ++p) {
    const TokenFrame& a = *whole.last->frame(p);
    const TokenFrame& b = *s->frame(p);
    ASSERT_EQ(a.id, b.id) << p;
    EXPECT_EQ(a.choice.logit, b.choice.logit);
    EXPECT_EQ(b.attention == nullptr, b.detail < Detail::kAll) << p;
    EXPECT_EQ(b.taps.empty(), b.detail < Detail::kStatistics) << p;
    summaries += b.detail == Detail::kSummary ? 1 : 0;
    if (b.detail >= Detail::kStatistics) {
      ASSERT_EQ(
          std::memcmp(a.taps.data(), b.taps.data(), a.taps.size() * sizeof(capture::TapStats)), 0);
    }
    if (b.detail == Detail::kAll) {
      const auto x = a.attention_row(1, 2);
      const auto y = b.attention_row(1, 2);
      ASSERT_TRUE(std::equal(x.begin(), x.end(), y.begin(), y.end())) << p;
    }
    ASSERT_EQ(a.logits.has_value(), b.logits.has_value());
    if (a.logits) {
      EXPECT_EQ(a.logits->top.front().id, b.logits->top.front().id);
    }
  }
  EXPECT_EQ(summaries, s->history.without_statistics);

  // An export says what it lacks.
  const TempFile folder("", "unused");
  const auto report = write_session_trace(*s, folder.folder() + "/tiny.safetensors", {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report.value().without_statistics, s->history.without_statistics);
  EXPECT_EQ(report.value().without_rows, s->history.without_rows);
}

TEST(HistoryBudget, RewindAndBranches_UnderATinyBudget_ContinueAsWithoutOne) {
  const auto play = [](std::uint64_t budget) {
    Played run(budget);
    run.after(Rewind{kPrompt + 20});  // a step whose detail is long gone
    const auto rewound = run.last;
    EXPECT_EQ(rewound->error, "");
    EXPECT_EQ(rewound->n_frames, kPrompt + 21);
    EXPECT_EQ(rewound->frame(kPrompt + 20)->logits->top.size(), capture::kTopTokens);
    run.after(ForceToken{17});
    run.after(Step{40});
    EXPECT_EQ(run.last->branches.size(), 1U);
    EXPECT_LE(run.last->history.branches, budget / 4 + kGenerated * 600);
    run.after(SwitchBranch{run.last->branches.front().id});
    EXPECT_EQ(run.last->n_frames, kPrompt + kGenerated);
    run.after(Step{10});
    EXPECT_EQ(run.last->error, "");
    std::vector<std::int32_t> ids;
    for (int p = 0; p < run.last->n_frames; ++p) {
      ids.push_back(run.last->frame(p)->id);
    }
    EXPECT_LE(run.last->history.host(), budget);
    return ids;
  };
  EXPECT_EQ(play(std::uint64_t{3} << 20U), play(std::uint64_t{8} << 30U));
}

TEST(HistoryBudget, Findings_OfDroppedSteps_OutliveARewind) {
  SessionOptions options;
  options.backend = "cpu";
  options.context = 600;
  options.history_budget = std::uint64_t{600} << 10U;
  Session session(options);
  const auto after = [&session](Command command) {
    session.send(std::move(command));
    session.wait_idle();
    return session.snapshot();
  };
  after(LoadModel{golden("qwen2", "model.gguf")});
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 300; ++i) {
    ids.push_back(5 + i * 7 % 200);
  }
  after(SetTokens{ids});
  ASSERT_EQ(after(SetFaults{{"mask:off"}})->error, "");
  const auto ran = after(Step{200});
  ASSERT_EQ(ran->error, "");
  const auto causes = [](const Snapshot& s) {
    std::vector<std::string> all;
    for (const diagnose::Finding& finding : s.findings) {
      all.push_back(finding.check + "/" + finding.cause);
    }
    return all;
  };
  ASSERT_FALSE(ran->findings.empty());
  ASSERT_LT(ran->frame(250)->detail, Detail::kStatistics);
  EXPECT_EQ(causes(*after(Rewind{260})), causes(*ran));
}

TEST(HistoryBudget, MapsBeyondHalfOfIt_AreRefusedInWords) {
  Played tiny(std::uint64_t{3} << 20U);
  tiny.after(RequestHeadMap{0, 0});
  EXPECT_EQ(tiny.last->head_map, nullptr);
  EXPECT_NE(tiny.last->error.find("--history-memory"), std::string::npos) << tiny.last->error;
  tiny.after(MakeTrace{});
  EXPECT_EQ(tiny.last->trace, nullptr);
  EXPECT_NE(tiny.last->error.find("--history-memory"), std::string::npos) << tiny.last->error;
}

TEST(HistoryBudget, Default_IsAQuarterOfTheMachine) {
  EXPECT_GE(default_history_budget(), std::uint64_t{512} << 20U);
  Session session{SessionOptions{}};
  session.send(LoadModel{golden("qwen2", "model.gguf")});
  session.wait_idle();
  EXPECT_EQ(session.snapshot()->history.budget, default_history_budget());
}

}  // namespace
}  // namespace layerscope::testing

// A reference beside a session: choosing, comparing, the three sides, explaining, and what goes
// wrong.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/session/compared_session.h"
#include "engine/session/trace_export.h"
#include "tests/engine/format/temp_file.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using namespace session;  // NOLINT: the test is about this namespace

constexpr const char* kPrompt = "Write a haiku about rain. Use the word seven.";

/// On the CPU, or where LS_TEST_BACKEND says: the comparisons pass on a GPU too.
SessionOptions test_options() {
  const char* backend = std::getenv("LS_TEST_BACKEND");
  SessionOptions options;
  options.backend = backend != nullptr ? backend : "cpu";
  options.threads = 2;
  return options;
}

/// A session of the demo behind a ComparedSession, driven as the window does.
class Compared {
 public:
  Compared() : live(test_options()), session([] {}) {
    session.set_candidate(live);
    run(LoadModel{demo_model()});
    session.set_model({demo_model(), "auto", 2, 0});
  }
  std::shared_ptr<const Snapshot> run(Command command) {
    session.send(std::move(command));
    live.wait_idle();
    settle();
    return session.snapshot();
  }
  void settle() {
    for (int i = 0; i < 12000; ++i) {
      session.advance();
      if (session.settled()) {
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ADD_FAILURE() << "never settled";
  }
  void reference(const std::string& path) {
    session.choose_reference(path);
    settle();
  }

  Session live;
  ComparedSession session;
};

/// The prompt and three tokens as a trace with every tensor, with faults.
std::string recorded(const std::string& folder, const std::vector<std::string>& faults,
                     const char* prompt = kPrompt) {
  Session session(test_options());
  for (const Command& command :
       std::vector<Command>{LoadModel{demo_model()}, SetFaults{faults}, SetPrompt{prompt, true},
                            Step{3}, MakeTrace{}}) {
    session.send(command);
  }
  session.wait_idle();
  const std::string path = folder + "/reference.safetensors";
  TraceExportOptions whole;
  whole.whole = true;
  const auto report = write_session_trace(*session.snapshot(), path, whole);
  EXPECT_TRUE(report.ok()) << report.error().message;
  return path;
}

TEST(ComparedSession, SameRun_NoDivergence_AndNoDifference) {
  const TempFile folder("", "unused");
  const std::string path = recorded(folder.folder(), {});
  Compared c;
  c.run(SetPrompt{kPrompt, true});
  c.run(Step{3});
  c.reference(path);
  ASSERT_EQ(c.session.stage(), CompareStage::kDone) << c.session.problem();
  const auto result = c.session.result();
  ASSERT_NE(result, nullptr);
  EXPECT_FALSE(result->comparison.diverges()) << result->verdict;
  ASSERT_TRUE(c.session.has_sides());
  c.session.set_side(Side::kDifference);
  c.settle();
  const auto d = c.session.snapshot();
  const auto a = c.session.candidate();
  ASSERT_EQ(d->n_frames, a->n_frames);
  EXPECT_EQ(d->model, a->model) << "the selection stays";
  EXPECT_NE(d->version, a->version);
  for (int p = 0; p < d->n_frames; ++p) {
    for (const float v : d->frame(p)->attention_row(3, 3)) {
      ASSERT_LT(v, 1e-4F);
    }
    const auto& stats = d->frame(p)->stats(5, capture::Tap::kResidOut);
    EXPECT_GT(stats.count, 0U);
    EXPECT_LT(stats.l2, 1e-2F * a->frame(p)->stats(5, capture::Tap::kResidOut).l2);
  }
}

TEST(ComparedSession, Fault_IsFound_SeenOnEverySide_AndExplained) {
  const TempFile folder("", "unused");
  const std::string path = recorded(folder.folder(), {});
  Compared c;
  c.run(SetFaults{{"transpose:blk.2.attn_q.weight"}});
  // The fault changes what is generated: the reference's tokens are fed.
  c.reference(path);
  EXPECT_EQ(c.session.stage(), CompareStage::kNoTokens);
  c.session.feed_reference_tokens();
  c.settle();
  ASSERT_EQ(c.session.stage(), CompareStage::kDone) << c.session.problem();
  const auto result = c.session.result();
  ASSERT_TRUE(result->comparison.first) << result->verdict;
  const compare::Pair& first = result->comparison.pairs[*result->comparison.first];
  EXPECT_EQ(first.layer, 2);
  EXPECT_EQ(first.tap, capture::Tap::kQ);
  // Layer 2 adds the error; those before add none.
  ASSERT_EQ(result->comparison.blocks.size(), 8U);
  EXPECT_LT(result->comparison.blocks[1].added, 1e-3);
  EXPECT_GT(result->comparison.blocks[2].added, 1e-2);

  // B shows the reference's own numbers, the difference ‖a − b‖ and not |‖a‖ − ‖b‖|.
  const auto a = c.session.candidate();
  c.session.set_side(Side::kB);
  c.settle();
  const auto b = c.session.snapshot();
  ASSERT_EQ(b->n_frames, a->n_frames);
  c.session.set_side(Side::kDifference);
  c.settle();
  const auto d = c.session.snapshot();
  const int p = d->n_frames - 1;
  const auto details = [&] {
    ComparedSession::Details found;
    for (int i = 0; i < 2000 && (found.a == nullptr || found.b == nullptr); ++i) {
      found = c.session.details(p);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return found;
  }();
  ASSERT_TRUE(details.a != nullptr && details.b != nullptr);
  if (!details.a->error.empty()) {
    GTEST_SKIP() << "this backend inspects no tokens: " << details.a->error;
  }
  const auto values = [](const TokenDetail& detail) {
    for (const capture::FullTensor& t : detail.pass.tensors) {
      if (t.tap == capture::Tap::kQ && t.layer == 2) {
        return t.values;
      }
    }
    return std::vector<float>();
  };
  const auto x = values(*details.a);
  const auto y = values(*details.b);
  ASSERT_FALSE(x.empty());
  ASSERT_EQ(x.size(), y.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2.0);
  }
  EXPECT_NEAR(static_cast<double>(d->frame(p)->stats(2, capture::Tap::kQ).l2), std::sqrt(sum),
              1e-3 * std::sqrt(sum));
  const auto row_a = a->frame(p)->attention_row(2, 1);
  const auto row_b = b->frame(p)->attention_row(2, 1);
  const auto row_d = d->frame(p)->attention_row(2, 1);
  ASSERT_EQ(row_d.size(), row_a.size());
  for (std::size_t k = 0; k < row_d.size(); ++k) {
    EXPECT_FLOAT_EQ(row_d[k], std::fabs(row_a[k] - row_b[k]));
  }
  const auto shown = c.run(InspectToken{p, 0});
  ASSERT_NE(shown->token_detail, nullptr);
  const auto diff = values(*shown->token_detail);
  ASSERT_EQ(diff.size(), x.size());
  EXPECT_FLOAT_EQ(diff[7], x[7] - y[7]);

  c.session.explain();
  c.settle();
  const auto explained = c.session.result();
  ASSERT_TRUE(explained->explained) << c.session.problem();
  ASSERT_FALSE(explained->explanations.empty());
  EXPECT_EQ(explained->explanations[0].faults[0], "transpose:blk.2.attn_q.weight");
  ASSERT_TRUE(explained->third);
  EXPECT_EQ(explained->third->verdict, Verdict::kCandidate);
  c.session.bisect();
  c.settle();
  ASSERT_TRUE(c.session.result()->bisected);
  EXPECT_EQ(c.session.result()->bisection.layer, 2) << c.session.result()->bisection_error;

  // Another run makes the result stale; comparing again renews it.
  EXPECT_FALSE(c.session.stale());
  c.run(SetFaults{{}});
  c.run(Step{1});
  EXPECT_TRUE(c.session.stale());
}

TEST(ComparedSession, OtherTokens_AreSaidFirst_AndCanBeFed) {
  const TempFile folder("", "unused");
  const std::string path = recorded(folder.folder(), {}, "Write a haiku about snow.");
  Compared c;
  c.run(SetPrompt{kPrompt, true});
  c.run(Step{2});
  c.reference(path);
  ASSERT_EQ(c.session.stage(), CompareStage::kDone) << c.session.problem();
  ASSERT_TRUE(c.session.result()->comparison.tokens);
  EXPECT_NE(c.session.result()->verdict.find("token ids differ"), std::string::npos);
  c.session.feed_reference_tokens();
  c.settle();
  ASSERT_EQ(c.session.stage(), CompareStage::kDone) << c.session.problem();
  EXPECT_FALSE(c.session.result()->comparison.diverges()) << c.session.result()->verdict;
}

TEST(ComparedSession, SecondModelFile_RunsOnTheSameTokens) {
  Compared c;
  c.run(SetPrompt{kPrompt, true});
  c.run(Step{2});
  c.reference(demo_model());
  ASSERT_EQ(c.session.stage(), CompareStage::kDone) << c.session.problem();
  EXPECT_FALSE(c.session.result()->comparison.diverges()) << c.session.result()->verdict;
  c.reference(golden("llama", "model.gguf"));
  EXPECT_EQ(c.session.stage(), CompareStage::kFailed);
  EXPECT_NE(c.session.problem(), "");
}

TEST(ComparedSession, Mistakes_AreSentences_AndTheSessionStays) {
  const TempFile folder("", "unused");
  const std::string path = recorded(folder.folder(), {});
  Compared c;
  c.run(SetPrompt{kPrompt, true});
  const auto before = c.run(Step{2});
  const auto unharmed = [&] {
    const auto now = c.session.candidate();
    EXPECT_EQ(now->n_frames, before->n_frames);
    EXPECT_EQ(now->model, before->model);
    EXPECT_EQ(c.session.side(), Side::kA);
  };
  const std::string cut = folder.folder() + "/cut.safetensors";
  std::filesystem::copy_file(path, cut);
  std::filesystem::resize_file(cut, std::filesystem::file_size(cut) / 2);
  c.reference(cut);
  EXPECT_EQ(c.session.stage(), CompareStage::kFailed);
  EXPECT_NE(c.session.problem().find("cut.safetensors"), std::string::npos);
  unharmed();
  const std::string text = folder.folder() + "/notes.txt";
  std::ofstream(text) << "this is no trace\n";
  c.reference(text);
  EXPECT_EQ(c.session.stage(), CompareStage::kFailed);
  EXPECT_NE(c.session.problem().find("not a trace"), std::string::npos);
  unharmed();
  c.session.set_side(Side::kDifference);
  EXPECT_EQ(c.session.side(), Side::kA) << "there is no reference to show";
  // A trace of another model.
  Session other(test_options());
  other.send(LoadModel{golden("llama", "model.gguf")});
  other.send(SetTokens{{1, 2, 3, 4}});
  other.send(MakeTrace{});
  other.wait_idle();
  const std::string foreign = folder.folder() + "/other.safetensors";
  TraceExportOptions whole;
  whole.whole = true;
  ASSERT_TRUE(write_session_trace(*other.snapshot(), foreign, whole).ok());
  c.reference(foreign);
  EXPECT_EQ(c.session.stage(), CompareStage::kFailed);
  EXPECT_NE(c.session.problem().find("different models"), std::string::npos) << c.session.problem();
  unharmed();
  c.session.drop_reference();
  EXPECT_EQ(c.session.stage(), CompareStage::kNone);
}

}  // namespace
}  // namespace layerscope::testing

// What panels ask of a session: one token in full, the logit lens, the cache, and branches. Looking
// must never change what comes next.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/capture/frame_memory.h"
#include "engine/session/branches.h"
#include "engine/session/session.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {
namespace {

using namespace session;  // NOLINT: the test is about this namespace
using capture::Tap;

class Looking : public ::testing::Test {
 protected:
  std::shared_ptr<const Snapshot> after(Command command) {
    session_.send(std::move(command));
    session_.wait_idle();
    return session_.snapshot();
  }
  void SetUp() override {
    after(LoadModel{demo_model()});
    after(SetPrompt{"Write a haiku about rain. Use the word seven.", true});
  }

  Session session_{SessionOptions{}};
};

std::vector<float> top_logits(const Snapshot& s) {
  std::vector<float> all;
  for (int i = 0; i < s.n_frames; ++i) {
    if (s.frame(i)->logits) {
      for (const capture::TopToken& token : s.frame(i)->logits->top) {
        all.push_back(token.logit);
      }
    }
  }
  return all;
}

TEST_F(Looking, InspectAtEveryStep_ChangesNoLogitBitForBit_AlsoUnderCacheFaults) {
  for (const char* fault : {"", "kv:stuck", "kv:off-by-one", "kv:stale", "mask:off"}) {
    SCOPED_TRACE(fault);
    after(SetFaults{*fault != '\0' ? std::vector<std::string>{fault} : std::vector<std::string>{}});
    ASSERT_EQ(session_.snapshot()->error, "");
    const auto plain = top_logits(*after(Step{6}));
    after(SetFaults{session_.snapshot()->faults});  // starts over
    for (int i = 0; i < 6; ++i) {
      const auto s = after(Step{1});
      after(InspectToken{s->n_frames / 2, 3});
      after(InspectToken{s->n_frames - 1, 0});
      const auto seen = after(InspectCache{1, 0, 2});
      ASSERT_EQ(seen->token_detail->error, "");
      ASSERT_EQ(seen->cache_view->error, "");
    }
    EXPECT_EQ(top_logits(*session_.snapshot()), plain);
  }
}

TEST_F(Looking, Inspect_ReproducesTheStatisticsOfTheFirstPass) {
  auto s = after(Step{3});
  const int position = s->n_prompt() - 2;  // evaluated in a batch, looked at alone
  s = after(InspectToken{position, 0});
  const capture::PassCapture& pass = s->token_detail->pass;
  ASSERT_EQ(pass.n_tokens, 1);
  const capture::TokenFrame& frame = *s->frame(position);
  int compared = 0;
  for (const capture::FullTensor& tensor : pass.tensors) {
    const capture::TapStats& stats = frame.stats(tensor.layer, tensor.tap);
    if (stats.count == 0) {
      continue;
    }
    const auto again = capture::compute_stats(tensor.values.data(), tensor.values.size());
    EXPECT_EQ(again.l2, stats.l2) << capture::tap_name(tensor.tap) << " layer " << tensor.layer;
    ++compared;
  }
  EXPECT_GT(compared, 8 * 14);
}

TEST_F(Looking, Lens_LastLayerIsTheModelsAnswer_AndAMiddleOneTheNaiveProduct) {
  auto s = after(Step{1});
  s = after(InspectToken{s->n_frames - 1, 5});
  const TokenDetail& detail = *s->token_detail;
  const int n_layers = s->model->n_layers;
  ASSERT_EQ(detail.lens.size(), static_cast<std::size_t>(n_layers) + 1);
  const LensRow& last = detail.lens.back();
  const auto& answer = *s->frame(s->n_frames - 1)->logits;
  for (std::size_t i = 0; i < last.top.size(); ++i) {
    EXPECT_EQ(last.top[i].id, answer.top[i].id);
    EXPECT_EQ(last.top[i].logit, answer.top[i].logit);
  }
  EXPECT_EQ(last.final_rank, 0);

  // Oracle: the residual after layer 3, normed and multiplied in float64, one row at a time.
  const auto model = load(demo_model());
  const LensRow& row = detail.lens[4];
  ASSERT_EQ(row.layer, 3);
  const std::vector<float>* x = nullptr;
  for (const capture::FullTensor& tensor : detail.pass.tensors) {
    x = tensor.tap == Tap::kResidOut && tensor.layer == 3 ? &tensor.values : x;
  }
  ASSERT_NE(x, nullptr);
  double mean = 0.0;
  for (const float v : *x) {
    mean += static_cast<double>(v) * static_cast<double>(v) / static_cast<double>(x->size());
  }
  const format::TensorInfo* head = model->file->find_tensor("token_embd.weight");
  ASSERT_TRUE(model->weights.tied_head);
  for (const capture::TopToken& token : row.top) {
    const auto w =
        format::decode_values(*head, static_cast<std::uint64_t>(token.id) * x->size(), x->size());
    ASSERT_TRUE(w.ok());
    double dot = 0.0;
    for (std::size_t i = 0; i < x->size(); ++i) {
      dot += static_cast<double>((*x)[i]) / std::sqrt(mean + double{model->spec.norm_eps}) *
             static_cast<double>(model->weights.output_norm[i]) * static_cast<double>(w.value()[i]);
    }
    EXPECT_NEAR(dot, double{token.logit}, 1e-3);
  }
}

TEST_F(Looking, Cache_NormsAreThoseOfTheTaps_AndARewindLeavesStaleSlots) {
  auto s = after(Step{4});
  const int n = s->n_frames;
  s = after(InspectCache{0, 0, 3});
  const capture::CacheStats& stats = s->cache_view->stats;
  EXPECT_EQ(stats.kv_len, n);
  EXPECT_EQ(stats.n_slots, n);
  for (int layer = 0; layer < stats.n_layers; ++layer) {
    for (int slot = 0; slot < n; ++slot) {
      double squares = 0.0;
      for (int head = 0; head < stats.n_kv_heads; ++head) {
        squares += std::pow(static_cast<double>(stats.at(layer, head, slot).k_l2), 2);
      }
      EXPECT_NEAR(std::sqrt(squares), s->frame(slot)->stats(layer, Tap::kKRope).l2, 1e-3);
    }
  }
  ASSERT_EQ(s->cache_view->key.size(), static_cast<std::size_t>(s->model->head_dim));
  double squares = 0.0;
  for (const float v : s->cache_view->key) {
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  EXPECT_NEAR(std::sqrt(squares), stats.at(0, 0, 3).k_l2, 1e-4);

  after(Rewind{n - 3});
  s = after(InspectCache{});
  EXPECT_EQ(s->cache_view->stats.kv_len, n - 2);
  EXPECT_EQ(s->cache_view->stats.n_slots, n);
  EXPECT_FALSE(s->cache_view->stats.at(0, 0, n - 1).zero);

  s = after(SetFaults{{"kv:zero,2"}});
  EXPECT_EQ(s->error, "");
}

TEST_F(Looking, RewindAndForce_KeepTheOldLine_AndSwitchingBackIsInstantAndExact) {
  auto s = after(Step{8});
  const int fork = s->n_prompt() + 2;
  std::vector<std::uint64_t> serials;
  std::vector<std::int32_t> ids;
  for (int i = 0; i < s->n_frames; ++i) {
    serials.push_back(s->frame(i)->serial);
    ids.push_back(s->frame(i)->id);
  }
  const auto expected = top_logits(*after(Step{2}));
  after(Rewind{static_cast<int>(ids.size()) - 1});  // two tokens back: a branch of its own
  s = after(Rewind{fork});
  ASSERT_EQ(s->branches.size(), 1U) << "the shorter line is part of the longer";
  EXPECT_EQ(s->undo_branch, s->branches[0].id);
  const std::int32_t other = s->frame(fork)->logits->top[3].id;
  after(ForceToken{other});
  s = after(Step{3});
  ASSERT_EQ(s->branches.size(), 1U);
  const BranchInfo kept = s->branches[0];
  EXPECT_EQ(kept.fork, fork + 1);
  EXPECT_EQ(kept.n_tokens, static_cast<int>(ids.size()) + 2);
  EXPECT_EQ(kept.tail.front(), ids[static_cast<std::size_t>(fork) + 1]);

  s = after(SwitchBranch{kept.id});
  EXPECT_EQ(s->error, "");
  ASSERT_EQ(s->n_frames, kept.n_tokens);
  for (std::size_t i = 0; i < serials.size(); ++i) {
    EXPECT_EQ(s->frame(static_cast<int>(i))->serial, serials[i]) << "every captured step is kept";
  }
  EXPECT_EQ(top_logits(*s), expected);
  ASSERT_EQ(s->branches.size(), 1U);
  EXPECT_EQ(s->branches[0].tail.front(), other);
  // The cache follows by itself: the next token is the one that an unbroken run gives.
  const auto next = top_logits(*after(Step{1}));
  Session fresh{SessionOptions{}};
  fresh.send(LoadModel{demo_model()});
  fresh.send(SetPrompt{"Write a haiku about rain. Use the word seven.", true});
  fresh.send(Step{11});
  fresh.wait_idle();
  EXPECT_EQ(top_logits(*fresh.snapshot()), next);

  s = after(SwitchBranch{12345});
  EXPECT_NE(s->error.find("no branch 12345"), std::string::npos);
  after(DropBranch{s->branches[0].id});
  EXPECT_TRUE(session_.snapshot()->branches.empty());
  after(SetPrompt{"Another.", false});
  EXPECT_TRUE(session_.snapshot()->branches.empty());
}

Branches::Line line(std::initializer_list<int> ids, std::size_t row = 0) {
  Branches::Line frames;
  for (const int id : ids) {
    auto frame = std::make_shared<capture::TokenFrame>();
    frame->id = id;
    if (row > 0) {
      frame->attention = std::make_shared<const capture::AttentionRows>(std::vector<float>(row));
    }
    frames.push_back(std::move(frame));
  }
  return frames;
}

TEST(BranchStore, ManyLines_KeepTheirPlaceInTheTree_AndStayBounded) {
  Branches store;
  EXPECT_EQ(store.keep({}), -1);
  const int a = store.keep(line({1, 2, 3, 4}));
  EXPECT_EQ(store.keep(line({1, 2, 3})), a) << "part of a kept line";
  const int b = store.keep(line({1, 2, 3, 9, 9}));
  const auto infos = store.list(line({1, 7}));
  ASSERT_EQ(infos.size(), 2U);
  EXPECT_EQ(infos[0].parent, -1);
  EXPECT_EQ(infos[0].fork, 1);
  EXPECT_EQ(infos[1].id, b);
  EXPECT_EQ(infos[1].parent, a);
  EXPECT_EQ(infos[1].fork, 3);
  EXPECT_EQ(infos[1].tail, (std::vector<std::int32_t>{9, 9}));
  EXPECT_EQ(store.list(line({1, 2, 3, 4, 5})).size(), 1U) << "the present line says the same";
  for (int i = 0; i < 100; ++i) {
    store.keep(line({i + 100, 1}));
  }
  EXPECT_EQ(store.list({}).size(), Branches::kMaxBranches);
}

TEST(BranchStore, AttentionRowsBeyondTheBudget_AreDroppedOldestLineFirst) {
  Branches store;
  const int old = store.keep(line({1, 2}, 100));
  const int recent = store.keep(line({3, 4}, 100));
  const std::uint64_t all = store.limit_bytes({}, std::uint64_t{1} << 30U);
  const std::uint64_t rows = capture::memory_of(*line({1}, 100).front()).rows;
  EXPECT_EQ(store.limit_bytes({}, all - rows - 1), all - 2 * rows);
  EXPECT_EQ((*store.take(old))[0]->attention, nullptr);
  EXPECT_NE((*store.take(recent))[0]->attention, nullptr);
}

}  // namespace
}  // namespace layerscope::testing

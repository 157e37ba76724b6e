// The window protocol: what is encoded comes back; what is malformed is refused, never crashes.
#include "engine/server/window_protocol.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace layerscope::server {
namespace {

session::ModelInfo small_model() {
  session::ModelInfo m;
  m.name = "model";
  m.n_layers = 2;
  m.n_heads = 3;
  m.n_kv_heads = 1;
  m.head_dim = 4;
  m.hidden = 12;
  m.ffn = 8;
  m.vocab_rows = 10;
  m.n_tokens = 10;
  return m;
}

std::shared_ptr<capture::TokenFrame> frame_at(int position) {
  auto frame = std::make_shared<capture::TokenFrame>();
  frame->serial = 77;
  frame->position = position;
  frame->id = 4;
  frame->choice = {capture::Origin::kSampled, true, 1.5F, 0.25F, -1.4F, 2, 3.0F};
  frame->n_layers = 2;
  frame->n_heads = 3;
  frame->taps.resize(3 * capture::kNumTaps);
  frame->taps[5].l2 = 2.5F;
  frame->heads.resize(6);
  frame->heads[4].argmax = position;
  frame->eval_ms = 0.5;
  capture::LogitSummary summary;
  summary.top = {{3, 9.5F, 0.5F}, {1, -2.25F, 0.125F}};
  summary.lse = 10.125;
  summary.min = -INFINITY;
  frame->logits = summary;
  capture::PooledRows pooled;
  pooled.width = capture::pooled_width(position + 1, 64);
  pooled.bins = position / pooled.width + 1;
  pooled.cells.assign(static_cast<std::size_t>(6 * pooled.bins), 200);
  frame->attention = std::make_shared<const capture::AttentionRows>(nullptr, std::move(pooled));
  return frame;
}

TEST(Protocol, Frame_ComesBackBitForBit) {
  const session::ModelInfo model = small_model();
  for (const int position : {0, 1, 63, 64, 1000}) {
    const auto frame = frame_at(position);
    const auto back = decode_frame(encode_frame(*frame), model);
    ASSERT_NE(back, nullptr) << position;
    EXPECT_EQ(back->serial, frame->serial);
    EXPECT_EQ(back->position, position);
    EXPECT_EQ(back->choice.rank, 2);
    EXPECT_EQ(back->taps[5].l2, 2.5F);
    EXPECT_EQ(back->heads[4].argmax, position);
    ASSERT_TRUE(back->logits.has_value());
    EXPECT_EQ(back->logits->top[1].logit, -2.25F);
    EXPECT_EQ(back->logits->lse, 10.125);
    EXPECT_TRUE(std::isinf(back->logits->min));
    ASSERT_NE(back->attention, nullptr);
    EXPECT_EQ(back->attention->pooled().width, frame->attention->pooled().width);
    EXPECT_EQ(back->attention->pooled().cells, frame->attention->pooled().cells);
  }
}

TEST(Protocol, FrameOfAnotherShape_Refused) {
  session::ModelInfo model = small_model();
  const std::string bytes = encode_frame(*frame_at(5));
  model.n_layers = 3;
  EXPECT_EQ(decode_frame(bytes, model), nullptr);
  model = small_model();
  model.vocab_rows = 3;  // ids beyond the vocabulary
  EXPECT_EQ(decode_frame(bytes, model), nullptr);
}

TEST(Protocol, Commands_ThatTravel_ComeBack) {
  session::SamplerSettings sampler;
  sampler.temperature = 0.5F;
  sampler.seed = 9;
  const std::vector<session::Command> all{
      session::SetPrompt{"a\0b", true},
      session::Step{3},
      session::Run{0},
      session::Pause{},
      session::Stop{},
      session::Rewind{4},
      session::ForceToken{7},
      session::SetSampler{sampler},
      session::SetCapture{{capture::Tier::kAttention, 0, 5, 1U}},
      session::SetFaults{{"rope:off"}},
      session::SetDiagnosis{false, 8},
      session::DiagnoseNow{},
      session::InspectToken{5, 8},
      session::InspectCache{1, 2, -1},
      session::SwitchBranch{3},
      session::DropBranch{4}};
  std::uint64_t number = 0;
  for (const session::Command& command : all) {
    const auto bytes = encode_command(++number, command);
    ASSERT_TRUE(bytes.has_value());
    const auto back = decode_command(*bytes);
    ASSERT_TRUE(back.has_value()) << number;
    EXPECT_EQ(back->number, number);
    EXPECT_EQ(back->command.index(), command.index());
  }
  const auto back = decode_command(*encode_command(1, session::SetSampler{sampler}));
  EXPECT_EQ(std::get<session::SetSampler>(back->command).settings, sampler);
}

TEST(Protocol, CommandsThatOpenFiles_DoNotTravel) {
  EXPECT_FALSE(encode_command(1, session::LoadModel{"/etc/passwd"}).has_value());
  EXPECT_FALSE(encode_command(1, session::Unload{}).has_value());
  EXPECT_FALSE(encode_command(1, session::RunJob{}).has_value());
}

TEST(Protocol, EveryCommandNumber_NeverOpensAFile) {
  for (int kind = 0; kind < 256; ++kind) {
    WireWriter w;
    w.put(std::uint64_t{1});
    w.put(static_cast<std::uint8_t>(kind));
    w.text("/etc/passwd");
    w.put(std::uint8_t{0});
    const auto command = decode_command(w.take());
    EXPECT_FALSE(command && std::holds_alternative<session::LoadModel>(command->command));
  }
}

TEST(Protocol, State_ComesBack) {
  session::Snapshot s;
  s.version = 5;
  s.state = session::State::kRunning;
  s.backend = "cpu";
  s.error = "é";
  s.sampler.seed = 8;
  s.faults = {"rope:off"};
  s.timing.decode_tok_s = 12.5;
  s.prompt = "p";
  s.prompt_ids = {1, 2};
  s.session_serial = 3;
  session::Snapshot back;
  StateExtra extra{4, true, 500, 2};
  StateExtra got;
  ASSERT_TRUE(decode_state(encode_state(s, 9, extra), back, got));
  ASSERT_TRUE(decode_prompt(encode_prompt(s), back));
  EXPECT_EQ(back.state, s.state);
  EXPECT_EQ(back.n_frames, 9);
  EXPECT_EQ(back.error, s.error);
  EXPECT_EQ(back.sampler, s.sampler);
  EXPECT_EQ(back.faults, s.faults);
  EXPECT_EQ(back.prompt_ids, s.prompt_ids);
  EXPECT_EQ(got.acknowledged, 4U);
  EXPECT_STREQ(progress_texts()[got.what], "evaluating the prompt");
}

TEST(Protocol, Branches_ComeBack_StrangeTreesAreRefused) {
  session::Snapshot s;
  s.branches = {{2, 9, 4, -1, {1, 2}}, {5, 8, 3, 2, {}}};
  s.undo_branch = 5;
  s.history = {1, 2, 3, 4, 5, 6, 7, 6};
  session::Snapshot back;
  StateExtra extra;
  ASSERT_TRUE(decode_state(encode_state(s, 0, {}), back, extra));
  ASSERT_EQ(back.branches.size(), 2U);
  EXPECT_EQ(back.branches[0].tail, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(back.branches[1].parent, 2);
  EXPECT_EQ(back.undo_branch, 5);
  EXPECT_EQ(back.history.budget, 1U);
  EXPECT_EQ(back.history.host(), 9U);
  EXPECT_EQ(back.history.device_rows, 5U);
  EXPECT_EQ(back.history.device_capacity, 6U);
  EXPECT_EQ(back.history.without_rows, 7);
  EXPECT_EQ(back.history.without_statistics, 6);
  for (const auto& [id, parent] : {std::pair{2, -1}, {1, -1}, {5, 5}, {5, 7}}) {
    s.branches[1].id = id;  // twice, descending, its own parent, a younger parent
    s.branches[1].parent = parent;
    EXPECT_FALSE(decode_state(encode_state(s, 0, {}), back, extra)) << id << " " << parent;
  }
}

session::TokenDetail small_detail() {
  session::TokenDetail detail;
  detail.position = 5;
  detail.id = 4;
  detail.serial = 77;
  detail.eval_ms = 1.5;
  detail.pass.first_position = 5;
  detail.pass.taps.resize(3 * capture::kNumTaps);
  detail.pass.taps[7].absmax = 4.5F;
  detail.pass.tensors = {{capture::Tap::kQ, 1, {1, 3, 2}, {1, 2, 3, 4, 5, NAN}},
                         {capture::Tap::kLogits, -1, {1, 2}, {7, -INFINITY}}};
  detail.lens = {{-1, {{3, 1.5F, 0.5F}}, 2.0F, 0.25F, 6}, {1, {}, 0.0F, 0.0F, -1}};
  return detail;
}

session::CacheView small_cache() {
  session::CacheView view;
  view.stats = {2, 1, 4, 16, 3, 4, {}};
  view.stats.slots.resize(8);
  view.stats.slots[5] = {1.5F, 2.5F, 3, false};
  view.layer = 1;
  view.slot = 3;
  view.key = {1, 2, 3, 4};
  view.value = {5, 6, 7, 8};
  view.last_serial = 12;
  return view;
}

TEST(Protocol, Views_ComeBackBitForBit) {
  const session::ModelInfo model = small_model();
  const session::TokenDetail detail = small_detail();
  const auto token = decode_detail(encode(detail), model);
  ASSERT_NE(token, nullptr);
  EXPECT_EQ(token->serial, 77U);
  EXPECT_EQ(token->pass.taps[7].absmax, 4.5F);
  ASSERT_EQ(token->pass.tensors.size(), 2U);
  EXPECT_EQ(token->pass.tensors[0].shape, detail.pass.tensors[0].shape);
  EXPECT_TRUE(std::isnan(token->pass.tensors[0].values[5]));
  EXPECT_EQ(token->pass.tensors[1].values, detail.pass.tensors[1].values);
  ASSERT_EQ(token->lens.size(), 2U);
  EXPECT_EQ(token->lens[0].top[0].logit, 1.5F);
  EXPECT_EQ(token->lens[0].final_rank, 6);
  const auto cache = decode_cache(encode(small_cache()), model);
  ASSERT_NE(cache, nullptr);
  EXPECT_EQ(cache->stats.at(1, 0, 1).v_l2, 2.5F);
  EXPECT_EQ(cache->stats.at(1, 0, 1).non_finite, 3);
  EXPECT_FALSE(cache->stats.at(1, 0, 1).zero);
  EXPECT_EQ(cache->value, (std::vector<float>{5, 6, 7, 8}));
}

TEST(Protocol, ViewsOfAnotherModel_Refused) {
  session::ModelInfo model = small_model();
  model.n_layers = 1;
  EXPECT_EQ(decode_detail(encode(small_detail()), model), nullptr);
  EXPECT_EQ(decode_cache(encode(small_cache()), model), nullptr);
  session::TokenDetail detail = small_detail();
  detail.pass.tensors[0].shape = {1, 3, 4};  // more than its values
  EXPECT_EQ(decode_detail(encode(detail), small_model()), nullptr);
  detail.pass.tensors[0].shape = {std::int64_t{1} << 62, 4};
  EXPECT_EQ(decode_detail(encode(detail), small_model()), nullptr);
  detail = small_detail();
  detail.lens[0].top[0].id = 10;  // beyond the vocabulary
  EXPECT_EQ(decode_detail(encode(detail), small_model()), nullptr);
  session::CacheView cache = small_cache();
  cache.slot = 4;
  EXPECT_EQ(decode_cache(encode(cache), small_model()), nullptr);
}

TEST(Protocol, TokenLargerThanAView_KeepsTheSmallTensors) {
  session::TokenDetail detail = small_detail();
  capture::FullTensor large{capture::Tap::kAttnScores, 0, {1, 1, 0}, {}};
  large.values.resize(kMostViewValues / sizeof(float));
  large.shape[2] = static_cast<std::int64_t>(large.values.size());
  detail.pass.tensors.insert(detail.pass.tensors.begin() + 1, std::move(large));
  const std::string bytes = encode(detail);
  EXPECT_LT(bytes.size(), 10000U);
  const auto back = decode_detail(bytes, small_model());
  ASSERT_NE(back, nullptr);
  ASSERT_EQ(back->pass.tensors.size(), 2U);
  EXPECT_EQ(back->pass.tensors[1].tap, capture::Tap::kLogits);
}

TEST(Protocol, Parts_MakeTheWhole_StrangeOnesAreRefused) {
  for (const std::size_t size : {std::size_t{1}, kPartBytes, kPartBytes + 1, 3 * kPartBytes}) {
    std::string bytes(size, 'x');
    bytes.back() = 'y';
    PartWriter writer(ViewKind::kCache, bytes);
    PartReader reader;
    std::optional<PartReader::View> view;
    std::size_t parts = 0;
    while (!writer.done()) {
      ASSERT_FALSE(view.has_value());
      ASSERT_TRUE(reader.take(writer.next(), view));
      ++parts;
    }
    ASSERT_TRUE(view.has_value());
    EXPECT_EQ(view->kind, ViewKind::kCache);
    EXPECT_EQ(view->bytes, bytes);
    EXPECT_EQ(parts, (size + kPartBytes - 1) / kPartBytes);
  }
  const auto part = [](int kind, bool first, std::uint32_t total, std::string_view bytes) {
    WireWriter w;
    w.put(static_cast<std::uint8_t>(kind));
    w.put(static_cast<std::uint8_t>(first));
    w.put(total);
    w.array(std::span(bytes));
    return w.take();
  };
  std::optional<PartReader::View> view;
  for (const std::string& bad :
       {part(0, true, 2, "x"), part(4, true, 2, "x"), part(1, false, 2, "x"), part(1, true, 0, "x"),
        part(1, true, 2, ""), part(1, true, 2, "xyz"),
        part(1, true, std::uint32_t{kMostView} + 1, "x"), std::string("x"), std::string()}) {
    EXPECT_FALSE(PartReader().take(bad, view));
  }
  PartReader reader;
  ASSERT_TRUE(reader.take(part(1, true, 3, "a"), view));
  EXPECT_FALSE(reader.take(part(2, false, 3, "b"), view)) << "another kind";
  EXPECT_FALSE(reader.take(part(1, false, 4, "b"), view)) << "another size";
  ASSERT_TRUE(reader.take(part(3, true, 2, "cd"), view)) << "a new one drops the old";
  EXPECT_EQ(view->bytes, "cd");
}

TEST(Protocol, Findings_ComeBack) {
  diagnose::Finding f;
  f.check = "rope";
  f.cause = "rope-off";
  f.layer = 3;
  f.evidence.captured = {1.0F, 2.0F};
  f.related = {"x"};
  session::Snapshot back;
  ASSERT_TRUE(decode_findings(encode_findings({f, f}, 6), back));
  ASSERT_EQ(back.findings.size(), 2U);
  EXPECT_EQ(back.findings[1].cause, "rope-off");
  EXPECT_EQ(back.findings[1].evidence.captured, f.evidence.captured);
  EXPECT_EQ(back.findings_serial, 6U);
}

TEST(Records, AnyCutting_SameRecords) {
  const std::string stream = frame_record(1, "abc") + frame_record(2, "") + frame_record(9, "xyz");
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    RecordReader reader(100);
    std::string seen;
    for (std::size_t i = 0; i < stream.size(); i += piece) {
      reader.push(std::string_view(stream).substr(i, piece));
      while (const auto record = reader.next()) {
        seen += std::to_string(record->type) + record->payload + ";";
      }
    }
    EXPECT_EQ(seen, "1abc;2;9xyz;");
    EXPECT_EQ(reader.buffered(), 0U);
    EXPECT_FALSE(reader.broken());
  }
}

TEST(Records, LengthOutOfRange_Broken) {
  for (const std::uint32_t length : {0U, 101U, 0xFFFFFFFFU}) {
    RecordReader reader(100);
    reader.push({reinterpret_cast<const char*>(&length), sizeof length});
    EXPECT_FALSE(reader.next().has_value());
    EXPECT_TRUE(reader.broken());
  }
}

/// Everything that reads what the other side sent.
void decode_all(std::string_view bytes) {
  const session::ModelInfo model = small_model();
  session::Snapshot snapshot;
  StateExtra extra;
  tokenizer::Vocab vocab;
  if (const auto frame = decode_frame(bytes, model)) {
    EXPECT_TRUE(frame->taps.empty() || frame->taps.size() == 3 * capture::kNumTaps);
    EXPECT_TRUE(frame->heads.empty() || frame->heads.size() == 6);
  }
  (void)decode_row(bytes, model);
  (void)decode_hello(bytes);
  (void)decode_resume(bytes);
  (void)decode_watch(bytes);
  (void)decode_command(bytes);
  (void)decode_tensor(bytes);
  if (const auto detail = decode_detail(bytes, model)) {
    for (const capture::FullTensor& tensor : detail->pass.tensors) {
      std::size_t n = 1;
      for (const std::int64_t dimension : tensor.shape) {
        n *= static_cast<std::size_t>(dimension);
      }
      EXPECT_EQ(tensor.values.size(), n);
    }
  }
  if (const auto cache = decode_cache(bytes, model)) {
    const capture::CacheStats& stats = cache->stats;
    EXPECT_EQ(stats.slots.size(),
              static_cast<std::size_t>(stats.n_layers * stats.n_kv_heads * stats.n_slots));
  }
  (void)decode_model(bytes, vocab);
  vocab = {};
  (void)decode_vocabulary(bytes, 10, vocab);
  EXPECT_LE(vocab.pieces.size(), 11U);
  (void)decode_findings(bytes, snapshot);
  (void)decode_state(bytes, snapshot, extra);
  (void)decode_prompt(bytes, snapshot);
  EXPECT_LT(extra.what, progress_texts().size());
}

TEST(Protocol, MutatedRecords_AreRefusedOrSane) {
  constexpr unsigned kSeed = 5;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  diagnose::Finding finding;
  finding.evidence.captured = {1.0F};
  session::Snapshot s;
  s.prompt_ids = {1, 2, 3};
  s.faults = {"a", "b"};
  s.branches = {{2, 9, 4, -1, {1, 2}}};
  TensorAnswer tensor;
  tensor.name = "t";
  tensor.first = {1.0F};
  const std::vector<std::string> seeds{encode_frame(*frame_at(5)),
                                       encode_findings({finding}, 1),
                                       encode_state(s, 3, {}),
                                       encode_prompt(s),
                                       encode(tensor),
                                       encode(small_detail()),
                                       encode(small_cache()),
                                       encode(Row{1, 1, 3, 7, {0.1F, 0.2F, 0.3F, 0.4F}}),
                                       encode(Resume{1, 2, 3, true}),
                                       *encode_command(1, session::SetFaults{{"x", "y"}}),
                                       *encode_command(2, session::SetPrompt{"hello", true})};
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = seeds[random() % seeds.size()];
    switch (random() % 3) {
      case 0:
        bytes.resize(random() % (bytes.size() + 1));
        break;
      case 1:
        bytes += static_cast<char>(random());
        break;
      default:
        for (auto n = random() % 8 + 1; n > 0; --n) {
          const auto value = random() % 4 == 0 ? 255UL : random();
          bytes[random() % std::min<std::size_t>(bytes.size(), 400)] = static_cast<char>(value);
        }
    }
    decode_all(bytes);
  }
}

}  // namespace
}  // namespace layerscope::server

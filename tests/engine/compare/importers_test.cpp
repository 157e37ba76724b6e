// Importers on real samples: what transformers, NumPy and PyTorch wrote for the golden models'
// weights (samples/make_samples.py) against our own run of the same tokens.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/compare/reading.h"
#include "engine/session/foreign_diagnosis.h"
#include "tests/engine/compare/compare_run.h"
#include "tests/engine/format/safetensors_writer.h"
#include "tests/engine/format/temp_file.h"

namespace layerscope::testing {
namespace {

using capture::Tap;

/// Compares a sample with our run of the tokens that it says; gives the comparison.
compare::Comparison against_ours(const std::string& file, const char* golden_name) {
  const compare::Trace trace = imported(sample(file));
  EXPECT_EQ(trace.ids.size(), 6U) << file;
  const auto model = load(golden(golden_name, "model.gguf"));
  const auto ours = own_trace(model, trace.ids);
  EXPECT_TRUE(ours.ok()) << ours.error().message;
  return compared(trace, ours.value());
}

bool has_tap(const compare::Comparison& c, Tap tap, int layer) {
  return std::any_of(c.pairs.begin(), c.pairs.end(), [&](const compare::Pair& pair) {
    return pair.tap == tap && pair.layer == layer;
  });
}

struct Sample {
  const char* file;
  const char* model;
  const char* format;
  std::size_t pairs;  ///< taps that must be found in it
};

class RealSamples : public ::testing::TestWithParam<Sample> {};

TEST_P(RealSamples, AgreeWithOurRun) {
  const Sample s = GetParam();
  const compare::Comparison c = against_ours(s.file, s.model);
  EXPECT_EQ(imported(sample(s.file)).format, s.format);
  EXPECT_EQ(first_place(c), "none");
  EXPECT_EQ(c.pairs.size(), s.pairs);
  double worst = 0.0;
  for (const compare::Pair& pair : c.pairs) {
    worst = std::max(worst, pair.difference.excess);
  }
  std::printf("%s: %zu taps, largest error %.3f of the tolerance (%s)\n", s.file, c.pairs.size(),
              worst, c.precision.c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Files, RealSamples,
    ::testing::Values(Sample{"hooks-qwen2.safetensors", "qwen2", "Layerscope trace", 100},
                      Sample{"modules-llama.safetensors", "llama", "safetensors", 12},
                      Sample{"modules-llama-bf16.safetensors", "llama", "safetensors", 12},
                      Sample{"modules-qwen2.npz", "qwen2", "NumPy arrays", 10},
                      Sample{"modules-qwen2-deflated.npz", "qwen2", "NumPy arrays", 10},
                      Sample{"checkpoints.jsonl", "qwen2", "JSON lines", 20},
                      Sample{"tree-repr-qwen2", "qwen2", "transformers debug tree", 29},
                      Sample{"tree-files-llama/LlamaForCausalLM_debug_tree_FULL_TENSORS.json",
                             "llama", "transformers debug tree", 29}),
    [](const auto& param_info) {
      std::string name = param_info.param.file;
      std::replace_if(
          name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
      return name;
    });

/// PyTorch stores Llama's Q and K for halves, GGUF for interleaved pairs: noticed, not reported.
TEST(Importers, OtherRopePairing_IsPutInOneOrder) {
  const compare::Comparison c = against_ours("modules-llama.safetensors", "llama");
  EXPECT_TRUE(has_tap(c, Tap::kQ, 0));
  EXPECT_TRUE(std::any_of(c.notes.begin(), c.notes.end(), [](const std::string& note) {
    return note.find("RoPE pairings") != std::string::npos;
  }));
}

TEST(Importers, Npy_IsReadWithItsNameAndShape) {
  const compare::Trace trace = imported(sample("logits.npy"));
  ASSERT_EQ(trace.tensors.size(), 1U);
  EXPECT_EQ(trace.tensors[0].name, "logits");
  EXPECT_EQ(trace.tensors[0].shape, (std::vector<std::int64_t>{6, 368}));
  const auto model = load(golden("qwen2", "model.gguf"));
  auto ids = short_ids("qwen2");
  ids.resize(6);
  EXPECT_EQ(first_place(compared(trace, own_trace(model, ids).value())), "none");
}

TEST(Importers, LogitsWithTokensBesideThem_StandAtTheLastPosition) {
  const auto ids = short_ids("qwen2");
  const TempFile file(read_text(golden("qwen2", "logits-short.f32")), "llamacpp-qwen2.bin");
  std::ofstream(file.folder() + "/llamacpp-qwen2-tokens.bin", std::ios::binary)
      .write(reinterpret_cast<const char*>(ids.data()),
             static_cast<std::streamsize>(ids.size() * sizeof(ids[0])));
  const compare::Trace trace = imported(file.path());
  EXPECT_EQ(trace.ids, ids);
  const auto model = load(golden("qwen2", "model.gguf"));
  const compare::Comparison c = compared(trace, own_trace(model, ids).value());
  EXPECT_EQ(first_place(c), "none");
  ASSERT_EQ(c.pairs.size(), 1U);
  EXPECT_EQ(c.pairs[0].first_position, 10);
  EXPECT_EQ(c.pairs[0].difference.n_compared, 368U);
}

TEST(Importers, LogitsWithPromptText_TakeItsIds) {
  const TempFile file(read_text(golden("qwen2", "logits-short.f32")), "llamacpp-m.bin");
  std::ofstream(file.folder() + "/llamacpp-m-prompt.txt")
      << "prompt: token ids: 9\nn_tokens: 3\ntoken ids: 1, 22, 333\n";
  EXPECT_EQ(imported(file.path()).ids, (std::vector<std::int32_t>{1, 22, 333}));
}

TEST(Importers, BareLogits_BorrowTheOthersTokens) {
  compare::Trace logits = imported(golden("qwen2", "logits-short.f32"));
  const auto model = load(golden("qwen2", "model.gguf"));
  compare::Trace ours = own_trace(model, short_ids("qwen2")).value();
  ours.n_prompt = ours.ids.size();
  compare::borrow_tokens(logits, ours);
  EXPECT_EQ(first_place(compared(ours, logits)), "none");
}

TEST(Importers, ForeignModules_AreHealthyAgainstTheFile) {
  const auto model = load(golden("llama", "model.gguf"));
  for (const char* file : {"modules-llama.safetensors", "tree-files-llama"}) {
    const auto report = session::diagnose_trace(model, imported(sample(file)));
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_TRUE(report.value().findings.empty()) << report.value().findings.front().message;
    EXPECT_GT(report.value().operations, 10);
  }
}

/// One wrong value in what PyTorch computed is found, and at its place.
TEST(Importers, OneWrongChannel_IsNamed) {
  const auto model = load(golden("llama", "model.gguf"));
  compare::Trace trace = imported(sample("modules-llama.safetensors"));
  for (compare::TraceTensor& tensor : trace.tensors) {
    tensor.values = compare::known_values(tensor).value();
    tensor.stored.reset();
    for (std::size_t row = 0; tensor.name == "model.layers.0.mlp.up_proj" && row < 6; ++row) {
      tensor.values[row * 128 + 77] *= 1.15F;
    }
  }
  const auto report = session::diagnose_trace(model, trace);
  ASSERT_TRUE(report.ok()) << report.error().message;
  ASSERT_FALSE(report.value().findings.empty());
  const diagnose::Finding& f = report.value().findings.front();
  EXPECT_EQ(f.cause, "channel-wrong");
  EXPECT_EQ(f.tensor, "blk.0.ffn_up.weight");
  EXPECT_NE(f.message.find("77"), std::string::npos) << f.message;
}

TEST(Importers, DamagedFiles_GetASentence) {
  const auto cut = [](const std::string& name, std::size_t bytes) {
    const TempFile file(read_text(sample(name)).substr(0, bytes), name);
    return import_error(file.path());
  };
  EXPECT_NE(cut("modules-llama.safetensors", 30000).find("cut short"), std::string::npos);
  EXPECT_NE(cut("modules-qwen2.npz", 20000).find("cut short"), std::string::npos);
  EXPECT_NE(cut("logits.npy", 5000).find("cut short"), std::string::npos);
  EXPECT_NE(cut("logits.npy", 40).find("header"), std::string::npos);
  const std::string tree = "Qwen2ForCausalLM_debug_tree_FULL_TENSORS.json";
  const TempFile half(read_text(sample("tree-repr-qwen2/" + tree)).substr(0, 90000), tree);
  EXPECT_NE(import_error(half.path()).find("cut short"), std::string::npos);
  const TempFile other("hello\n", "x.txt");
  EXPECT_NE(import_error(other.path()).find("not a trace in a known format"), std::string::npos);
  EXPECT_NE(import_error("/nonexistent.npz").find("does not exist"), std::string::npos);
}

TEST(Importers, WrongLines_SayWhichLine) {
  const auto lines = [](const std::string& text) {
    const TempFile file(text, "x.jsonl");
    return import_error(file.path());
  };
  const std::string good = R"({"checkpoint":"q_proj_L0","token_idx":0,"shape":[4],"values":[1,2]})"
                           "\n";
  EXPECT_NE(lines(good + "nonsense\n" + good).find("line 2"), std::string::npos);
  EXPECT_NE(lines(good + R"({"checkpoint":"q_proj_L0","token_idx":-1,"values":[1]})"
                         "\n")
                .find("token_idx"),
            std::string::npos);
  EXPECT_NE(lines(good + R"({"checkpoint":"q_proj_L0","token_idx":1,"shape":[5],"values":[1]})"
                         "\n")
                .find("another shape"),
            std::string::npos);
  EXPECT_NE(lines(good + R"({"checkpoint":"q_proj_L0","token_idx":1,"shape":[1],"values":[1,2]})"
                         "\n")
                .find("more values"),
            std::string::npos);
  const TempFile cut(good + R"({"checkpoint":"q_proj_L0","tok)", "x.jsonl");
  const compare::Trace trace = imported(cut.path());
  EXPECT_EQ(trace.tensors.size(), 1U);
  ASSERT_EQ(trace.notes.size(), 1U);
  EXPECT_NE(trace.notes[0].find("cut short"), std::string::npos);
}

/// One printed value cannot make gigabytes.
TEST(Importers, FewValuesOfAGiant_AreRefused) {
  const TempFile file(
      R"({"checkpoint":"q_proj_L0","token_idx":16777215,"shape":[1000],"values":[1]})"
      "\n",
      "x.jsonl");
  const compare::Trace trace = imported(file.path());
  const compare::Reading reading = compare::read_taps(trace, {});
  ASSERT_EQ(reading.taps.size(), 1U);
  const auto values = compare::tap_values(trace, reading.taps[0], {});
  ASSERT_FALSE(values.ok());
  EXPECT_NE(values.error().message.find("too many"), std::string::npos);
}

/// What no tap stands for is listed with the reason.
TEST(Reading, UnknownNames_AreListed) {
  SafetensorsWriter w;
  w.tensor<float>("p0.l0.q", "F32", {1, 4}, {1, 2, 3, 4});
  w.tensor<float>("p0.l0.mystery", "F32", {1, 4}, {1, 2, 3, 4});
  w.tensor<float>("model.layers.3.self_attn.q_proj", "F32", {1, 4}, {1, 2, 3, 4});
  w.tensor<float>("layer_2_attn_norm", "F32", {1, 4}, {1, 2, 3, 4});
  w.tensor<float>("attn_norm", "F32", {1, 4}, {1, 2, 3, 4});
  const TempFile file(w.build(), "x.safetensors");
  const compare::Trace trace = imported(file.path());
  const compare::Reading reading = compare::read_taps(trace, {});
  EXPECT_EQ(reading.taps.size(), 3U);
  ASSERT_EQ(reading.unread.size(), 2U);
  EXPECT_EQ(reading.unread[0].name, "p0.l0.mystery");
  EXPECT_EQ(reading.unread[1].name, "attn_norm");
  EXPECT_NE(reading.unread[1].why.find("without a layer"), std::string::npos);
}

/// Heads before tokens ([1, heads, tokens, dim]) and fused rows are put in our layout.
TEST(Reading, HeadLayoutAndFusedRows_AreRead) {
  SafetensorsWriter w;
  std::vector<float> heads_first;
  std::vector<float> fused;
  for (int h = 0; h < 2; ++h) {
    for (int t = 0; t < 3; ++t) {
      for (int d = 0; d < 2; ++d) {
        heads_first.push_back(static_cast<float>(100 * t + 10 * h + d));
      }
    }
  }
  for (int t = 0; t < 3; ++t) {
    for (int c = 0; c < 8; ++c) {
      fused.push_back(static_cast<float>(10 * t + c));
    }
  }
  w.tensor("q_rope.layer0", "F32", {1, 2, 3, 2}, heads_first);
  w.tensor("model.layers.0.self_attn.qkv_proj", "F32", {1, 3, 8}, fused);
  w.tensor<std::int64_t>("input_ids", "I64", {3}, {1, 2, 3});
  const TempFile file(w.build(), "x.safetensors");
  const compare::Trace trace = imported(file.path());
  compare::TraceModel model;
  model.n_heads = 2;
  model.n_kv_heads = 1;
  model.head_dim = 2;
  const compare::Reading reading = compare::read_taps(trace, model);
  ASSERT_EQ(reading.taps.size(), 4U);  // q, k, v, q_rope in order
  const auto values = [&](std::size_t i) {
    return compare::tap_values(trace, reading.taps[i], model).value().values;
  };
  EXPECT_EQ(values(0), (std::vector<float>{0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23}));
  EXPECT_EQ(values(1), (std::vector<float>{4, 5, 14, 15, 24, 25}));
  EXPECT_EQ(values(2), (std::vector<float>{6, 7, 16, 17, 26, 27}));
  EXPECT_EQ(values(3), (std::vector<float>{0, 1, 10, 11, 100, 101, 110, 111, 200, 201, 210, 211}));
}

}  // namespace
}  // namespace layerscope::testing

// The logit lens, the key and value cache, and what is exported.
#include <gtest/gtest.h>

#include <cstring>

#include <cmath>
#include <limits>

#include "gui/view/export_text.h"
#include "gui/view/kv_view.h"
#include "gui/view/lens_view.h"
#include "gui/view/norms.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui::view {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Lens, Settled_IsTheFirstLayerFromWhichAllAgree) {
  session::TokenDetail detail;
  const std::vector<std::int32_t> firsts{4, 9, 4, 9, 9};  // embedding, layers 0 … 3
  for (std::size_t i = 0; i < firsts.size(); ++i) {
    session::LensRow row;
    row.layer = static_cast<int>(i) - 1;
    row.top = {{firsts[i], 1.0F, 0.5F}};
    row.final_prob = 0.1F * static_cast<float>(i);
    detail.lens.push_back(row);
  }
  const LensView lens = lens_view(detail, 100);
  EXPECT_EQ(lens.settled, 2);
  ASSERT_EQ(lens.rows.size(), 5U);
  EXPECT_EQ(lens.rows.front().layer, "3");
  EXPECT_EQ(lens.rows.back().layer, "emb");
  EXPECT_TRUE(lens.rows[3].agrees) << "layer 0 agreed once";
  EXPECT_FALSE(lens.rows[2].agrees);
  EXPECT_EQ(lens.probability[4], 0.4F);
  detail.lens.back().top.clear();
  EXPECT_EQ(lens_view(detail, 0).settled, 3);
  EXPECT_TRUE(lens_view({}, 0).rows.empty());
}

TEST(OutlierChannels, AreComparedWithTheMedian_AndNanComesFirst) {
  std::vector<float> values(101, 1.0F);
  values[7] = -60.0F;
  values[50] = 9.0F;
  values[3] = kNan;
  const auto channels = outlier_channels(values, 8.0F, 10);
  ASSERT_EQ(channels.size(), 3U);
  EXPECT_EQ(channels[0].index, 3);
  EXPECT_EQ(channels[1].index, 7);
  EXPECT_FLOAT_EQ(channels[1].times, 60.0F);
  EXPECT_EQ(channels[2].index, 50);
  EXPECT_EQ(outlier_channels(values, 8.0F, 1).size(), 1U);
  EXPECT_TRUE(outlier_channels(std::vector<float>(9, 0.0F), 8.0F, 10).empty());
  EXPECT_TRUE(outlier_channels({}, 8.0F, 10).empty());
}

capture::CacheStats cache(int slots, int kv_len) {
  capture::CacheStats stats;
  stats.n_layers = 2;
  stats.n_kv_heads = 2;
  stats.n_slots = slots;
  stats.kv_len = kv_len;
  stats.context = 64;
  stats.slots.assign(static_cast<std::size_t>(4 * slots), {2.0F, 3.0F, 0, false});
  return stats;
}

TEST(KvMap, States_AreToldApartAndTheWorstOfACellWins) {
  capture::CacheStats stats = cache(10, 8);
  stats.slots[3] = {0.0F, 0.0F, 0, true};    // layer 0, head 0: a hole
  stats.slots[12] = {1.0F, 1.0F, 2, false};  // layer 0, head 1, slot 2
  stats.slots[29] = {0.0F, 0.0F, 0, true};   // layer 1, head 0, slot 9
  EXPECT_EQ(slot_state(stats, 0, 0, 3), SlotState::kZero);
  EXPECT_EQ(slot_state(stats, 0, 1, 2), SlotState::kNonFinite);
  EXPECT_EQ(slot_state(stats, 1, 0, 9), SlotState::kEmpty);
  EXPECT_EQ(slot_state(stats, 0, 0, 8), SlotState::kStale);
  EXPECT_EQ(slot_state(stats, 0, 0, 99), SlotState::kEmpty);
  const KvMap map = kv_map(stats, KvShow::kState, 100);
  EXPECT_EQ(map.rows, 4);
  EXPECT_EQ(map.columns, 10);
  EXPECT_EQ(map.count[static_cast<std::size_t>(SlotState::kStale)], 7U);
  EXPECT_EQ(map.count[static_cast<std::size_t>(SlotState::kWritten)], 30U);
  const KvMap binned = kv_map(stats, KvShow::kState, 4);
  EXPECT_EQ(binned.bin, 3);
  EXPECT_EQ(binned.columns, 4);
  EXPECT_EQ(binned.cells[1], static_cast<float>(SlotState::kZero));
  const KvMap norms = kv_map(stats, KvShow::kValueNorm, 100);
  EXPECT_EQ(norms.cells[0], 3.0F);
  EXPECT_TRUE(std::isnan(norms.cells[12]));
  // Piece by piece it is the same map.
  for (const KvShow show : {KvShow::kState, KvShow::kKeyNorm, KvShow::kValueNorm}) {
    KvMapMaker maker;
    maker.start(stats, show, 4);
    int pieces = 1;
    while (!maker.advance(1)) {
      ++pieces;
    }
    EXPECT_EQ(pieces, stats.n_layers * stats.n_kv_heads);
    const KvMap once = kv_map(stats, show, 4);
    EXPECT_EQ(
        std::memcmp(maker.map().cells.data(), once.cells.data(), once.cells.size() * sizeof(float)),
        0);
    EXPECT_EQ(maker.map().count, once.count);
    EXPECT_EQ(maker.map().hi, once.hi);
  }
  stats.slots.resize(3);
  EXPECT_EQ(kv_map(stats, KvShow::kState, 100).rows, 0) << "fewer slots than it says";
  EXPECT_EQ(kv_map({}, KvShow::kState, 100).rows, 0);
  EXPECT_EQ(readers_text(14, 2, 1), "7 – 13");
  EXPECT_EQ(readers_text(8, 8, 3), "3");
}

TEST(Export, CommandLine_RepeatsTheRun) {
  session::Snapshot none;
  EXPECT_TRUE(command_line(none).empty());
  auto s = sample::Builder({3, 2, 4}).grow_to(9).build();
  auto model = std::make_shared<session::ModelInfo>(*s->model);
  model->path = "/models/my model.gguf";
  s->model = model;
  s->prompt = "it's $HOME";
  s->chat = true;
  s->faults = {"rope:off,3"};
  s->n_generated = 5;
  s->backend = "cpu";
  s->context = 512;
  const std::string line = command_line(*s);
  EXPECT_NE(line.find("layerscope-cli generate '/models/my model.gguf'"), std::string::npos)
      << line;
  EXPECT_NE(line.find("--prompt 'it'\\''s $HOME' --chat --fault rope:off,3 --tokens 5"),
            std::string::npos)
      << line;
  EXPECT_EQ(line.find("--temperature"), std::string::npos);
  s->sampler.temperature = 0.7F;
  EXPECT_NE(command_line(*s).find("--temperature 0.7"), std::string::npos);
  EXPECT_EQ(diagnose_command(*s).find("layerscope-cli diagnose"), 0U);
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("a;b"), "'a;b'");
}

TEST(Export, Commands_OfFileAndTensor_NameThem) {
  session::Snapshot s;
  EXPECT_EQ(metadata_command(s), "");
  EXPECT_EQ(inspect_command(s, "x"), "");
  auto model = std::make_shared<session::ModelInfo>();
  model->path = "/my models/a.gguf";
  s.model = model;
  EXPECT_EQ(metadata_command(s), "layerscope-cli inspect '/my models/a.gguf'");
  EXPECT_EQ(inspect_command(s, ""), "layerscope-cli inspect '/my models/a.gguf' --tensors");
  EXPECT_EQ(inspect_command(s, "blk.0.attn_q.weight"),
            "layerscope-cli inspect '/my models/a.gguf' --tensor blk.0.attn_q.weight");
}

TEST(Export, PanelCommands_SayWhatThePanelShows) {
  session::Snapshot s;
  EXPECT_EQ(panel_command(s, "attention", 0, "", ""), "") << "no model";
  auto model = std::make_shared<session::ModelInfo>();
  model->path = "a.gguf";
  s.model = model;
  s.prompt = "x y";
  s.n_generated = 3;
  const std::string run = "layerscope-cli generate a.gguf --prompt 'x y' --tokens 3";
  EXPECT_EQ(panel_command(s, "tokens", 0, "", ""), run);
  EXPECT_EQ(panel_command(s, "logits", 0, "", ""), run + " --json");
  EXPECT_EQ(panel_command(s, "attention", 0, "", ""),
            run + " --trace attention.safetensors --capture attention");
  EXPECT_EQ(panel_command(s, "norms", 0, "", ""),
            run + " --trace norms.safetensors --capture summary");
  EXPECT_EQ(panel_command(s, "kv", 4, "", ""),
            run + " --trace kv.safetensors --capture full --layers 4-4");
  EXPECT_EQ(panel_command(s, "tensors", 2, "tap/2/q", ""),
            run + " --trace tensors.safetensors --capture full --layers 2-2");
  EXPECT_EQ(panel_command(s, "tensors", 2, "w", ""), "layerscope-cli inspect a.gguf --tensor w");
  EXPECT_EQ(panel_command(s, "findings", 0, "", ""), diagnose_command(s));
  EXPECT_EQ(panel_command(s, "model", 0, "", ""), metadata_command(s));
  EXPECT_EQ(panel_command(s, "log", 0, "", ""), "");
  EXPECT_EQ(panel_command(s, "compare", 0, "", ""), "") << "nothing is compared";
  EXPECT_EQ(panel_command(s, "compare", 0, "", "b.log"),
            run +
                " --trace compare.safetensors --capture full && layerscope-cli compare "
                "compare.safetensors b.log --model a.gguf --explain");
  auto recording = std::make_shared<session::RecordingInfo>();
  recording->path = "my trace.safetensors";
  s.recording = recording;
  EXPECT_EQ(panel_command(s, "attention", 0, "", ""),
            "layerscope 'my trace.safetensors' --offscreen 1600x1000 --screenshot layerscope.png");
  EXPECT_EQ(panel_command(s, "findings", 0, "", ""),
            "layerscope-cli diagnose 'my trace.safetensors'");
  EXPECT_EQ(panel_command(s, "compare", 0, "", "b.log"),
            "layerscope-cli compare 'my trace.safetensors' b.log");
}

TEST(Norms, Ratio_HasGapsWhereEitherIsUnknown) {
  const float nan = std::nanf("");
  const std::vector<float> ratio =
      ratio_profile({2.0F, nan, 3.0F, 4.0F, 5.0F}, {1.0F, 1.0F, 0.0F, nan});
  ASSERT_EQ(ratio.size(), 5U);
  EXPECT_EQ(ratio[0], 2.0F);
  for (std::size_t i = 1; i < ratio.size(); ++i) {
    EXPECT_EQ(ratio[i], HeatmapData::kHole) << i;
  }
}

TEST(Export, CsvFields_AreQuotedWhereTheyMust) {
  EXPECT_EQ(csv_line({"a", "", "b,c", "d\"e", "f\ng"}), "a,,\"b,c\",\"d\"\"e\",\"f\ng\"\n");
  EXPECT_EQ(csv_line({"", "x"}), ",x\n");
}

}  // namespace
}  // namespace layerscope::gui::view

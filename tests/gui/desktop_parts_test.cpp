// Parts of the shell that need no window: the palette's matching, exports, frame times, settings.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "gui/app/exports.h"
#include "gui/app/frame_times.h"
#include "gui/app/input_probe.h"
#include "gui/app/palette.h"
#include "gui/app/settings.h"

namespace layerscope::gui {
namespace {

TEST(Palette, Match_FindsLettersInOrder_AndPrefersWords) {
  EXPECT_EQ(match_score("xyz", "Run or pause"), -1);
  EXPECT_EQ(match_score("esuap", "pause"), -1) << "order counts";
  EXPECT_GE(match_score("rp", "Run or pause"), 0);
  EXPECT_GT(match_score("run", "Run or pause"), match_score("run", "rotated under noise"));
  EXPECT_GT(match_score("tens", "Tensors tab"), match_score("tens", "blk.0.attn_norm.weights"));
  const std::vector<PaletteEntry> entries{{"File", "Quit", "", {}},
                                          {"Go to", "Tensors tab", "", {}},
                                          {"Tensor", "token_embd.weight", "", {}}};
  EXPECT_EQ(rank_entries(entries, "", 2), (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(rank_entries(entries, "tensors", 9).front(), 1U);
  EXPECT_EQ(rank_entries(entries, "embd", 9), (std::vector<std::size_t>{2}));
  EXPECT_TRUE(rank_entries(entries, "q9", 9).empty());
}

TEST(Exports, Path_IsNeverOneThatExists) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "layerscope-exports";
  std::filesystem::remove_all(folder);
  const std::string first = export_path(folder.string(), "tokens", "csv");
  ASSERT_TRUE(write_text(first, "a,b\n").ok());
  const std::string second = export_path(folder.string(), "tokens", "csv");
  EXPECT_NE(first, second);
  std::ifstream file(first);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "a,b\n");
  EXPECT_FALSE(std::filesystem::exists(first + ".part"));
  const Status refused = write_text("/proc/no/such/file", "x");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("/proc/no/such/file"), std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(Exports, Crop_TakesThePartThatIsInside) {
  Pixels picture{4, 3, {}};
  for (std::uint8_t i = 0; i < 12; ++i) {
    picture.rgba.insert(picture.rgba.end(), {i, 0, 0, 255});
  }
  const Pixels part = crop(picture, 1.0F, 1.0F, 3.0F, 99.0F);
  EXPECT_EQ(part.width, 2U);
  EXPECT_EQ(part.height, 2U);
  EXPECT_EQ(part.rgba[0], 5);
  EXPECT_EQ(part.rgba[part.rgba.size() - 4], 10);
  EXPECT_EQ(crop(picture, 5.0F, 0.0F, 9.0F, 2.0F).width, 0U);
  EXPECT_EQ(crop(picture, 3.0F, 0.0F, 1.0F, 2.0F).width, 0U);
}

TEST(FrameTimes, Percentiles_AreNearestRanks) {
  FrameTimes times;
  EXPECT_EQ(times.percentile(50), 0.0);
  for (int i = 100; i >= 1; --i) {
    times.add(i * 1e-3);
  }
  EXPECT_NEAR(times.percentile(50), 50.0, 1e-4);
  EXPECT_NEAR(times.percentile(95), 95.0, 1e-4);
  EXPECT_NEAR(times.percentile(100), 100.0, 1e-4);
  EXPECT_NE(times.text().find("100 frames"), std::string::npos);
  times.clear();
  EXPECT_EQ(times.count(), 0U);
}

TEST(FrameTimes, Rest_KeepsTheRate_AndLeavesHalfOfASharedProcessor) {
  EXPECT_NEAR(rest_after_frame(0.006, 60.0, false), 1.0 / 60.0 - 0.006, 1e-9);
  EXPECT_EQ(rest_after_frame(0.030, 60.0, false), 0.0);
  EXPECT_NEAR(rest_after_frame(0.030, 60.0, true), 0.030, 1e-9);
  EXPECT_NEAR(rest_after_frame(0.002, 60.0, true), 1.0 / 60.0 - 0.002, 1e-9);
  EXPECT_LE(rest_after_frame(2.0, 60.0, true), 0.1);
}

TEST(InputProbe, Events_ComeAtTheirRate_OnceEach_AndWakeTheWindow) {
  std::atomic<int> woken{0};
  std::size_t taken = 0;
  {
    InputProbe probe(200.0, [&woken] { ++woken; });
    const auto end = InputProbe::Clock::now() + std::chrono::milliseconds(500);
    while (InputProbe::Clock::now() < end) {
      for (const auto when : probe.take()) {
        EXPECT_LE(when, InputProbe::Clock::now());
        ++taken;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    taken += probe.take().size();
  }
  EXPECT_GT(taken, 10U);
  EXPECT_LT(taken, 200U);
  EXPECT_GE(static_cast<std::size_t>(woken.load()) + 1, taken);
}

TEST(Settings, EveryTokenColour_AndTheLens_AreRemembered) {
  for (int color = 0; color <= 3; ++color) {
    StoredState state;
    state.settings.token_color = color;
    state.settings.lens = color % 2 == 0;
    const auto read = parse_settings(format_settings(state));
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value().settings.token_color, color);
    EXPECT_EQ(read.value().settings.lens, color % 2 == 0);
  }
  EXPECT_EQ(parse_settings("{\"token_color\": 9}").value().settings.token_color, 0);
}

}  // namespace
}  // namespace layerscope::gui

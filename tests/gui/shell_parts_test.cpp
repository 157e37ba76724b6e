// Parts of the shell that need neither window nor device: keys, settings, layout, browser lists.
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "gui/app/browser_model.h"
#include "gui/app/keymap.h"
#include "gui/app/layout.h"
#include "gui/app/options.h"
#include "gui/app/settings.h"

namespace layerscope::gui {
namespace {

TEST(Keymap, Bindings_All_AreUniqueAndReadable) {
  std::set<ImGuiKeyChord> chords;
  std::set<Action> actions;
  for (const Binding& binding : bindings()) {
    EXPECT_TRUE(chords.insert(binding.chord).second) << chord_text(binding.chord) << " twice";
    EXPECT_TRUE(actions.insert(binding.action).second) << binding.text << " twice";
    const auto parsed = parse_chord(chord_text(binding.chord));
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_EQ(parsed.value(), binding.chord) << chord_text(binding.chord);
    // Plain keys would steal letters and cursor movements from text fields.
    const bool plain = (binding.chord & (ImGuiMod_Ctrl | ImGuiMod_Alt)) == 0;
    const int key = binding.chord & ~ImGuiMod_Mask_;
    const bool function_key = key >= ImGuiKey_F1 && key <= ImGuiKey_F24;
    EXPECT_FALSE(binding.while_typing && plain && !function_key) << binding.text;
  }
  EXPECT_EQ(key_text(Action::kOpen), "Ctrl+O");
  EXPECT_EQ(key_text(Action::kStepBack), "Shift+F10");
}

TEST(Keymap, ParseChord_AnyCaseAndAliases_OrAnError) {
  EXPECT_EQ(parse_chord("ctrl+shift+f5").value(), ImGuiMod_Ctrl | ImGuiMod_Shift | ImGuiKey_F5);
  EXPECT_EQ(parse_chord("Left").value(), ImGuiKey_LeftArrow);
  EXPECT_EQ(parse_chord("Escape").value(), ImGuiKey_Escape);
  EXPECT_FALSE(parse_chord("Hyper+A").ok());
  EXPECT_FALSE(parse_chord("Ctrl+").ok());
  EXPECT_FALSE(parse_chord("").ok());
}

TEST(Settings, RoundTrip_EveryField_Survives) {
  StoredState state;
  state.settings.color_map = 2;
  state.settings.dark = false;
  state.settings.font_scale = 1.25F;
  state.settings.log_attention = true;
  state.settings.last_folder = "/a b";
  remember_file(state.settings, "/one");
  remember_file(state.settings, "/two");
  remember_file(state.settings, "/one");
  state.layout.left = 321.0F;
  state.window_width = 1234;
  state.settings.pace = 3.0F;
  state.settings.replay_pace = 0.0F;
  const auto read = parse_settings(format_settings(state));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read.value().settings.color_map, 2);
  EXPECT_FALSE(read.value().settings.dark);
  EXPECT_FLOAT_EQ(read.value().settings.font_scale, 1.25F);
  EXPECT_TRUE(read.value().settings.log_attention);
  EXPECT_FLOAT_EQ(read.value().settings.pace, 3.0F);
  EXPECT_FLOAT_EQ(read.value().settings.replay_pace, 0.0F);
  EXPECT_EQ(read.value().settings.last_folder, "/a b");
  EXPECT_EQ(read.value().settings.recent, (std::vector<std::string>{"/one", "/two"}));
  EXPECT_FLOAT_EQ(read.value().layout.left, 321.0F);
  EXPECT_EQ(read.value().window_width, 1234);
}

TEST(Settings, Broken_WrongTypesAndRanges_KeepDefaults) {
  EXPECT_FALSE(parse_settings("{").ok());
  EXPECT_FALSE(parse_settings("[1]").ok());
  EXPECT_FALSE(parse_settings("").ok());
  const auto read = parse_settings(
      R"({"color_map":"x","dark":7,"font_scale":900,"recent":[1,"/a"],"layout":5,
          "window":{"width":-3,"height":700}})");
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read.value().settings.color_map, 0);
  EXPECT_TRUE(read.value().settings.dark);
  EXPECT_FLOAT_EQ(read.value().settings.font_scale, 1.0F);
  EXPECT_EQ(read.value().settings.recent, std::vector<std::string>{"/a"});
  EXPECT_EQ(read.value().window_width, 1600);
  EXPECT_EQ(read.value().window_height, 700);
}

TEST(Settings, Save_NotUtf8AndNewFolder_ReadsBack) {
  const auto folder = std::filesystem::temp_directory_path() /
                      ("layerscope_settings_" + std::to_string(::getpid()));
  const std::string path = (folder / "deep" / "settings.json").string();
  StoredState state;
  state.settings.last_folder = "/\xff";
  state.settings.token_color = 1;
  ASSERT_TRUE(save_settings(path, state).ok());
  EXPECT_EQ(load_settings(path).settings.token_color, 1);
  std::ofstream(path) << "not json";
  EXPECT_EQ(load_settings(path).settings.token_color, 0);
  EXPECT_FALSE(std::filesystem::exists(path)) << "the next save must not overwrite it …";
  std::string kept;
  std::getline(std::ifstream(path + ".broken"), kept);
  EXPECT_EQ(kept, "not json") << "… so it is put aside";
  EXPECT_EQ(load_settings("/nonexistent/x.json").window_width, 1600);
  std::filesystem::remove_all(folder);
}

TEST(Layout, Regions_ManySizes_FillTheWindowWithoutOverlap) {
  for (const auto& [width, height] : {std::pair{1024.0F, 640.0F},
                                      {1600.0F, 1000.0F},
                                      {3840.0F, 2160.0F},
                                      {640.0F, 400.0F},
                                      {300.0F, 100.0F}}) {
    for (const float scale : {1.0F, 1.5F, 2.0F}) {
      const Layout l = compute_layout(width, height, scale, {});
      EXPECT_FLOAT_EQ(l.left.right(), l.centre.x);
      EXPECT_NEAR(l.centre.right(), std::max(l.right.x, l.left.width), 0.01F);
      EXPECT_FLOAT_EQ(l.top.bottom(), l.centre.y);
      EXPECT_FLOAT_EQ(l.centre.bottom(), l.bottom.y);
      EXPECT_FLOAT_EQ(l.status.bottom(), height);
      for (const Rect& r : {l.left, l.centre, l.right, l.bottom}) {
        EXPECT_GE(r.width, 0.0F) << width << "x" << height << " at " << scale;
        EXPECT_GE(r.height, 0.0F);
      }
    }
  }
  const Layout small = compute_layout(1024.0F, 640.0F, 1.0F, {});
  EXPECT_GE(small.centre.width, 500.0F);
  EXPECT_GE(small.centre.height, 300.0F);
}

TEST(Layout, Drag_FarBeyondTheEdge_StopsAtTheMinimum) {
  const LayoutSettings start;
  const auto wide = drag_splitter(Splitter::kLeft, 9000.0F, 0.0F, 1600.0F, 1000.0F, 1.0F, start);
  const Layout l = compute_layout(1600.0F, 1000.0F, 1.0F, wide);
  EXPECT_GE(l.centre.width, 319.0F);
  EXPECT_GE(l.right.width, 219.0F);
  const auto narrow = drag_splitter(Splitter::kLeft, -9000.0F, 0.0F, 1600.0F, 1000.0F, 1.0F, start);
  EXPECT_GE(compute_layout(1600.0F, 1000.0F, 1.0F, narrow).left.width, 200.0F);
  const auto up = drag_splitter(Splitter::kBottom, 0.0F, -50.0F, 1600.0F, 1000.0F, 2.0F, start);
  EXPECT_NEAR(compute_layout(1600.0F, 1000.0F, 2.0F, up).bottom.height -
                  compute_layout(1600.0F, 1000.0F, 2.0F, start).bottom.height,
              50.0F, 0.5F);
}

TEST(Browser, Arrange_FilterAndSort_FoldersFirst) {
  const std::vector<BrowserEntry> all{{"b.gguf", false, 10, 3},
                                      {"A.GGUF", false, 30, 1},
                                      {"notes.txt", false, 5, 2},
                                      {"zoo", true, 0, 9},
                                      {".hidden", true, 0, 0}};
  const auto names = [](const std::vector<BrowserEntry>& entries) {
    std::vector<std::string> result;
    result.reserve(entries.size());
    for (const auto& entry : entries) {
      result.push_back(entry.name);
    }
    return result;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(arrange(all, BrowserFilter::kModels, BrowserSort::kName, false)),
            (Names{"zoo", "A.GGUF", "b.gguf"}));
  EXPECT_EQ(names(arrange(all, BrowserFilter::kModels, BrowserSort::kSize, false)),
            (Names{"zoo", "b.gguf", "A.GGUF"}));
  EXPECT_EQ(names(arrange(all, BrowserFilter::kAll, BrowserSort::kDate, true)),
            (Names{"zoo", "b.gguf", "notes.txt", "A.GGUF"}));
  EXPECT_EQ(names(arrange(all, BrowserFilter::kFolders, BrowserSort::kName, false)), Names{"zoo"});
}

TEST(LayoutSizes, WholeBottom_TakesTheRoomBetweenTheBars_AndCanBeDraggedDown) {
  LayoutSettings whole;
  whole.bottom = kWholeBottom;
  for (const ImVec2 size : {ImVec2{1600.0F, 1000.0F}, ImVec2{640.0F, 400.0F}}) {
    const Layout l = compute_layout(size.x, size.y, 1.0F, whole);
    EXPECT_EQ(l.centre.height, 0.0F);
    EXPECT_FLOAT_EQ(l.bottom.y, l.top.bottom());
    EXPECT_FLOAT_EQ(l.bottom.bottom(), l.status.y);
  }
  const LayoutSettings less =
      drag_splitter(Splitter::kBottom, 0.0F, 400.0F, 1600.0F, 1000.0F, 1.0F, whole);
  EXPECT_GT(compute_layout(1600.0F, 1000.0F, 1.0F, less).centre.height, 300.0F);
}

TEST(LayoutSizes, BelowTheSmallestSize_EveryColumnKeepsItsShare) {
  const Layout l = compute_layout(1600.0F, 1000.0F, 2.5F, {});
  EXPECT_GT(l.left.width, 450.0F);
  EXPECT_GT(l.right.width, 450.0F);
  EXPECT_GT(l.centre.width, 600.0F);
}

TEST(Browser, TypingAndCompletion_FindNames) {
  const std::vector<BrowserEntry> entries{
      {"alpha-1.gguf", false, 0, 0}, {"alpha-2.gguf", false, 0, 0}, {"Beta", true, 0, 0}};
  EXPECT_EQ(find_typed(entries, "BE"), 2);
  EXPECT_EQ(find_typed(entries, "q"), -1);
  EXPECT_EQ(complete_name(entries, "al"), "alpha-");
  EXPECT_EQ(complete_name(entries, "B"), "Beta/");
  EXPECT_EQ(complete_name(entries, "q"), "q");
}

TEST(Browser, Fits_EnoughTightUnknown_SaysWhy) {
  EXPECT_TRUE(fits_text(1000, 2000, 0).starts_with("yes"));
  EXPECT_TRUE(fits_text(1000, 1100, 0).starts_with("no"));
  EXPECT_TRUE(fits_text(1000, 0, 0).starts_with("unknown"));
  // With a GPU its memory decides, whatever the host has.
  EXPECT_EQ(fits_text(1000, 10, 4000), "yes: 1.00 kB of the GPU's 4.00 kB");
  EXPECT_TRUE(fits_text(4000, 10000, 4000).starts_with("no"));
  EXPECT_NE(fits_text(4000, 10000, 4000).find("--backend cpu: yes"), std::string::npos);
  EXPECT_GT(available_memory(), 0U);
}

Result<std::optional<Options>> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "layerscope");
  return parse_options(static_cast<int>(words.size()), words.data());
}

TEST(Options, Combinations_ThatMakeNoSense_AreRefused) {
  EXPECT_TRUE(parse({"m.gguf"}).ok());
  EXPECT_TRUE(
      parse({"m.gguf", "--prompt", "x", "--offscreen", "800x600", "--exit-after", "3"}).ok());
  EXPECT_FALSE(parse({"m.gguf", "--offscreen", "800x600"}).ok());
  EXPECT_FALSE(parse({"m.gguf", "--exit-after", "3"}).ok());
  EXPECT_FALSE(parse({"--prompt", "x", "--exit-after", "3"}).ok());
  // A recording is played; it has its own prompt.
  const char* root = std::getenv("LS_SOURCE_DIR");
  const std::string log = std::string(root != nullptr ? root : ".") +
                          "/tests/engine/compare/samples/modules-llama.safetensors";
  ASSERT_TRUE(std::filesystem::exists(log));
  EXPECT_TRUE(parse({log.c_str(), "--exit-after", "3"}).ok());
  EXPECT_FALSE(parse({log.c_str(), "--exit-after", "3", "--prompt", "x"}).ok());
  EXPECT_FALSE(parse({"--offscreen", "800", "--screenshot", "a.png"}).ok());
  EXPECT_FALSE(parse({"--backend", "vulkan"}).ok());
  EXPECT_EQ(parse({"--nonsense"}).error().code, ErrorCode::kUsage);
}

TEST(Options, LosesDevice_InTheOrderGiven_OrSaysWhatIsWrong) {
  const auto parsed = parse({"m.gguf", "--lose-device", "submit:40", "--lose-device", "create"});
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const auto& plans = parsed.value()->lose_device;
  ASSERT_EQ(plans.size(), 2U);
  EXPECT_EQ(plans[0].call, DeviceCall::kSubmit);
  EXPECT_EQ(plans[0].at, 40U);
  EXPECT_EQ(plans[1].call, DeviceCall::kCreate);
  for (const char* wrong : {"sumbit:4", "submit:0", "submit:", "submit:4x", "submit:-1", ""}) {
    EXPECT_FALSE(parse({"m.gguf", "--lose-device", wrong}).ok()) << wrong;
  }
}

}  // namespace
}  // namespace layerscope::gui

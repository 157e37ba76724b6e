// Every panel, drawn without a renderer: with empty, one-token, usual, huge and faulty snapshots,
// at several sizes. Nothing may crash or assert; ids must be registered and free of conflicts.
#include <gtest/gtest.h>
#include <imgui.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "gui/panels/actions.h"
#include "gui/panels/ui.h"
#include "tests/gui/panels/bench.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui {
namespace {

using sample::Builder;

const std::vector<std::string> kTabs{"norms", "findings", "heads", "tensors", "compare",
                                     "kv",    "faults",   "model", "log"};

std::shared_ptr<session::Snapshot> faulty() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  Builder builder({3, 4, 5});
  builder.grow_to(30).drop_attention(29).drop_attention(2);
  for (int p = 4; p < 30; p += 3) {
    builder.change(p, [p, nan, inf](capture::TokenFrame& f) {
      for (capture::HeadStats& head : f.heads) {
        head = {nan, inf, nan, p % 2 == 0 ? -1 : 1 << 30, nan, -inf, nan};
      }
      for (capture::TapStats& tap : f.taps) {
        tap = {nan, inf, nan, 16, 16, 0};
      }
      f.logits = capture::LogitSummary{};
      f.logits->top = {{-5, nan, nan}, {1 << 30, inf, nan}};
      f.logits->best_padded = {61, nan, nan};
      f.logits->entropy = nan;
      f.logits->max = inf;
      f.logits->non_finite = 99;
      f.choice = {capture::Origin::kForced, true, nan, nan, nan, -7, inf};
      f.id = -3;
      if (f.attention != nullptr) {
        f.attention = std::make_shared<capture::AttentionRows>(
            std::vector<float>(f.attention->values().size(), nan));
      }
    });
  }
  builder.change(20, [](capture::TokenFrame& f) {
    f.heads.clear();
    f.taps.clear();
    f.attention = std::make_shared<capture::AttentionRows>(std::vector<float>(3, 0.5F));
    f.logits.reset();
  });
  auto s = builder.build();
  s->error = "broken.gguf: tensor 'blk.0.attn_q.weight' ends 512 bytes behind the end of the file";
  s->error_serial = 4;
  s->state = session::State::kRunning;
  return s;
}

struct Case {
  const char* name;
  std::function<std::shared_ptr<session::Snapshot>()> make;
};

std::vector<Case> cases() {
  return {
      {"empty", [] { return std::make_shared<session::Snapshot>(); }},
      {"loading",
       [] {
         auto s = std::make_shared<session::Snapshot>();
         s->state = session::State::kLoading;
         return s;
       }},
      {"model without tokens",
       [] {
         return Builder({3, 2, 4}).build();
       }},
      {"bare model",
       [] {
         auto s = std::make_shared<session::Snapshot>();
         s->model = std::make_shared<session::ModelInfo>();
         s->state = session::State::kIdle;
         return s;
       }},
      {"one token",
       [] {
         return Builder({3, 2, 1}).grow_to(1).build();
       }},
      {"usual",
       [] {
         return Builder({8, 8, 12}).grow_to(41).build();
       }},
      {"many heads",
       [] {
         return Builder({32, 32, 4}).grow_to(9).build();
       }},
      {"many tokens",
       [] {
         return Builder({2, 2, 4}).grow_to(1500).build();
       }},
      {"faulty", faulty},
  };
}

class Drawn : public testing::TestWithParam<int> {};

TEST_P(Drawn, EveryPanelAtEverySize_HasNoCrashAndNoConflict) {
  const Case c = cases()[static_cast<std::size_t>(GetParam())];
  SCOPED_TRACE(c.name);
  const auto snapshot = c.make();
  for (const auto& [size, scale] :
       {std::pair<ImVec2, float>{{1024, 640}, 1.0F}, {{1600, 1000}, 1.0F}, {{3840, 2160}, 2.0F}}) {
    Bench bench(size, scale);
    bench.ui.snapshot = snapshot;
    for (const std::string& tab : kTabs) {
      bench.tab = tab;
      bench.ui.settings.dark = tab != "heads";
      bench.ui.settings.show_scores = tab == "tensors";
      bench.ui.settings.log_attention = tab == "model";
      bench.ui.selection.head_open = tab != "model";
      bench.ui.selection.position = tab == "log" ? 20 : -1;
      bench.frame(3);
    }
    const auto ids = bench.ui.widgets.ids();
    const std::set<std::string> known(ids.begin(), ids.end());
    for (const char* id : {"menu/file", "transport/restart", "transport/back", "transport/step",
                           "transport/run", "transport/stop", "prompt", "prompt/chat", "prompt/raw",
                           "prompt/apply", "sampling", "status/text", "status/error"}) {
      EXPECT_TRUE(known.contains(id)) << id;
    }
    for (const std::string& id : ids) {
      if (const auto* widget = bench.ui.widgets.find(id); widget != nullptr && widget->visible) {
        bench.point(id);
        ASSERT_LE(bench.conflicts, 1) << "id conflict at " << id;
      }
      if (ids.size() > 300 && size.x != 1600) {
        break;  // hovering over a thousand heads once is enough
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Snapshots, Drawn, testing::Range(0, static_cast<int>(cases().size())));

TEST(Panels, States_TellWhatIsShown) {
  Bench bench({1600, 1000});
  bench.tab = "model";
  Builder builder({8, 8, 12});
  bench.ui.snapshot = builder.grow_to(41).build();
  bench.frame(2);
  EXPECT_EQ(bench.state("tokens/count"), "41");
  EXPECT_EQ(bench.state("tokens/selected"), "40");
  EXPECT_EQ(bench.state("selection/layer"), "0");
  EXPECT_EQ(bench.state("attention/row_sum"), "1.0000");
  EXPECT_EQ(bench.state("attention/map_size"), "41 x 41");
  EXPECT_EQ(bench.state("model/architecture"), "qwen2");
  EXPECT_EQ(bench.state("status/error"), "");
  EXPECT_EQ(bench.state("prompt/fed"), bench.ui.snapshot->fed_text);
  EXPECT_EQ(bench.state("topbar/model"), "qwen2 · 7.1M · F16 · 8 layers × 8 heads");
  const auto& top = bench.ui.snapshot->frame(40)->logits->top.front();
  EXPECT_EQ(bench.state("logits/top1_id"), std::to_string(top.id));
  EXPECT_EQ(bench.state("logits/top1"), bench.ui.snapshot->model->tokenizer->decode(top.id, true));
}

TEST(Panels, ClickingAHead_SelectsIt) {
  Bench bench({1600, 1000});
  bench.ui.snapshot = Builder({8, 8, 12}).grow_to(41).build();
  bench.frame(2);
  bench.point("attention/layer 3/head 5", 0);
  EXPECT_EQ(bench.ui.selection.layer, 3);
  EXPECT_EQ(bench.ui.selection.head, 5);
  EXPECT_EQ(bench.state("selection/head"), "5");
  bench.point("attention/back", 0);
  EXPECT_FALSE(bench.ui.selection.head_open);
}

TEST(Panels, ClickingATokenAndTheMap_SelectsTheStep) {
  Bench bench({1600, 1000});
  bench.ui.snapshot = Builder({5, 4, 12}).grow_to(41).build();
  bench.frame(2);
  bench.point("tokens/20", 0);
  EXPECT_EQ(bench.ui.selection.position, 20);
  EXPECT_EQ(bench.state("tokens/selected"), "20");
  bench.point("tokens/40", 0);
  EXPECT_EQ(bench.ui.selection.position, -1) << "the newest token means: follow";
  bench.point("norms/map", 0);
  EXPECT_EQ(bench.ui.selection.position, 20);
  EXPECT_EQ(bench.ui.selection.layer, 2);
}

/// Notes the colour map of every heatmap and draws nothing.
class MapsAsked : public HeatmapRenderer {
 public:
  TextureHandle texture(std::string_view key, const HeatmapData& data) override {
    asked[std::string(key)] = data.color_map;
    return 0;
  }
  TextureHandle chart(std::string_view /*key*/, const ChartData& /*data*/) override { return 0; }
  [[nodiscard]] std::string_view path_text() const override { return "none"; }
  [[nodiscard]] std::string_view path_reason() const override { return "a test"; }

  std::map<std::string, ColorMap> asked;
};

TEST(Panels, ChosenColourMap_ColoursEveryMapThatHasNoneOfItsOwn) {
  Bench bench({1600, 1000});
  MapsAsked renderer;
  bench.ui.heatmaps = &renderer;
  bench.ui.snapshot = Builder({4, 4, 12}).grow_to(41).build();
  for (const ColorMap chosen : {ColorMap::kViridis, ColorMap::kCividis, ColorMap::kMagma}) {
    bench.ui.settings.color_map = static_cast<int>(chosen);
    renderer.asked.clear();
    bench.frame(3);
    std::set<std::string> chosen_by;
    for (const auto& [key, map] : renderer.asked) {
      EXPECT_NE(map, ColorMap::kChosen) << key;
      if (map == chosen) {
        chosen_by.insert(key);
      } else {
        EXPECT_TRUE(map == ColorMap::kDiverging || map == ColorMap::kShade) << key;
      }
    }
    EXPECT_TRUE(chosen_by.contains("attention/overview"));
    EXPECT_GE(chosen_by.size(), 5U) << "overview, head, norms and their bars";
  }
}

TEST(Panels, ContextMenu_OpensForceWithSearch) {
  Bench bench({1600, 1000});
  bench.ui.snapshot = Builder({4, 4, 12}).grow_to(41).build();
  bench.frame(2);
  bench.point("tokens/20", 1);
  ASSERT_NE(bench.ui.widgets.find("tokens/menu/rewind"), nullptr);
  bench.point("tokens/menu/force", 0);
  bench.frame(2);
  ASSERT_NE(bench.ui.widgets.find("force/search"), nullptr);
  for (const char c : std::string("forty")) {
    ImGui::GetIO().AddInputCharacter(static_cast<unsigned>(c));
  }
  bench.frame(3);
  EXPECT_NE(bench.ui.widgets.find("force/candidate/5"), nullptr);
  bench.point("force/candidate/5", 0);
  EXPECT_EQ(bench.ui.widgets.find("force/search"), nullptr) << "choosing closes the popup";
}

TEST(Panels, FileMenuAndLogitBar_OpenWhatTheySay) {
  Bench bench({1600, 1000});
  bench.ui.snapshot = Builder({4, 4, 12}).grow_to(41).build();
  bench.ui.settings.recent = {"/a.gguf", "/b.gguf"};
  bench.frame(2);
  bench.point("menu/file", 0);
  bench.point("menu/file/open", 0);
  EXPECT_TRUE(bench.ui.requests.open_file_dialog);
  bench.point("logits/bar/1", 0);
  EXPECT_NE(bench.ui.widgets.find("logits/branch/confirm"), nullptr);
}

TEST(Panels, Tensor_IsReadInTheBackgroundAndShown) {
  Bench bench({1600, 1000});
  bench.tab = "tensors";
  bench.ui.snapshot = Builder({4, 4, 12}).grow_to(4).build();
  bench.frame(2);
  EXPECT_EQ(bench.state("tensors/count"), "2");
  bench.point("tensors/row/output_norm.weight", 0);
  bench.frame(2);
  for (int i = 0; i < 2000 && bench.state("tensors/busy") != "no"; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    bench.frame(1);
  }
  bench.frame(1);
  EXPECT_EQ(bench.state("tensors/selected"), "output_norm.weight");
  EXPECT_EQ(bench.state("tensors/progress"), "100");
  EXPECT_EQ(bench.state("tensors/non_finite"), "2");
}

TEST(Panels, Error_CanBeDismissedAndComesBackWhenNew) {
  Bench bench({1600, 1000});
  auto s = Builder({4, 4, 12}).grow_to(4).build();
  s->error = "no such file";
  s->error_serial = 1;
  bench.ui.snapshot = s;
  bench.frame(2);
  EXPECT_EQ(bench.state("status/error"), "no such file");
  bench.point("status/error/dismiss", 0);
  EXPECT_EQ(bench.state("status/error"), "");
  auto again = std::make_shared<session::Snapshot>(*s);
  again->error_serial = 2;
  bench.ui.snapshot = again;
  bench.frame(1);
  EXPECT_EQ(bench.state("status/error"), "no such file");
}

TEST(Panels, LongStream_DrawsOnlyWhatIsVisible) {
  Bench bench({1600, 1000});
  bench.ui.snapshot = Builder({1, 1, 4}).grow_to(3000).build();
  bench.frame(3);
  int chips = 0;
  for (const std::string& id : bench.ui.widgets.ids()) {
    chips += id.starts_with("tokens/") && id.size() > 7 && id[7] >= '0' && id[7] <= '9' ? 1 : 0;
  }
  EXPECT_GT(chips, 5);
  EXPECT_LT(chips, 400);
  EXPECT_NE(bench.ui.widgets.find("tokens/2999"), nullptr) << "follows the newest token";
}

}  // namespace
}  // namespace layerscope::gui

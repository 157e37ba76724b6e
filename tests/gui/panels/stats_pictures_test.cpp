// Norms and logits with pictures of the engine: what the panels ask for, and when they fall back to
// the frames.
#include <gtest/gtest.h>

#include "tests/gui/panels/bench.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui {
namespace {

/// A session whose pictures answer what the last frame asked for.
struct Drawing {
  explicit Drawing(int n, bool on_gpu) {
    builder.grow_to(n);
    gpu = on_gpu;
    take_snapshot();
    bench.ui.pictures = true;
  }
  void take_snapshot() {
    auto snapshot = builder.build();
    snapshot->draws = gpu;
    snapshot->backend = gpu ? "cuda" : "cpu";
    bench.ui.snapshot = snapshot;
    if (bench.ui.drawn != nullptr && !view::shows(drawn, *snapshot)) {
      bench.ui.drawn = nullptr;
    }
  }
  void answer(backend::KnownStats known = {}) {
    const session::Snapshot& s = *bench.ui.snapshot;
    auto frame = lay_out(bench.ui.look, s.n_frames, {3, 2, 0, known}, backend::kDrawFloats);
    ASSERT_TRUE(frame.ok());
    floats.assign(frame.value().floats(), 0.25F);
    drawn.frame = frame.value();
    drawn.frame.tag = {s.session_serial, s.frame(s.n_frames - 1)->serial};
    drawn.host = floats.data();
    ++drawn.value;
    bench.ui.drawn = &drawn;
  }
  void frame(int n = 1) {
    for (int i = 0; i < n; ++i) {
      bench.ui.look = {};
      bench.frame();
    }
  }
  void expect_sources(const std::string& map, const std::string& profile, const std::string& bars,
                      const std::string& series) {
    EXPECT_EQ(bench.state("norms/map_source"), map);
    EXPECT_EQ(bench.state("norms/profile_source"), profile);
    EXPECT_EQ(bench.state("logits/bars_source"), bars);
    EXPECT_EQ(bench.state("logits/series_source"), series);
  }
  sample::Builder builder{{3, 2, 4}};
  bool gpu = false;
  Bench bench{ImVec2(1600.0F, 1000.0F)};
  view::Drawn drawn;
  std::vector<float> floats;
};

TEST(StatsPictures, Panels_AskForWhatTheyShow) {
  Drawing d(9, true);
  d.frame(2);
  const backend::StatsLook& look = d.bench.ui.look.stats;
  EXPECT_EQ(look.tap, capture::Tap::kResidOut);
  EXPECT_TRUE(look.profile && look.logits);
  EXPECT_EQ(look.position, -1);
  d.expect_sources("frames", "frames", "frames", "frames");
  d.answer();
  d.frame(2);
  d.expect_sources("picture", "picture", "picture", "picture");
  EXPECT_EQ(d.bench.state("norms/map_size"), "3 x 9");
  // An older token: its profile and bars are not in the picture yet, map and series are.
  d.bench.ui.selection.position = 5;
  d.frame(1);
  d.expect_sources("picture", "frames", "frames", "picture");
  EXPECT_EQ(d.bench.ui.look.stats.position, 5);
  d.answer();
  d.frame(1);
  d.expect_sources("picture", "picture", "picture", "picture");
  // Another tap is another map.
  d.bench.ui.settings.norms_tap = 3;
  d.frame(1);
  d.expect_sources("frames", "picture", "picture", "picture");
  EXPECT_EQ(d.bench.ui.look.stats.tap, capture::Tap::kQ);
  d.bench.ui.settings.norms_statistic = 1;
  d.answer();
  d.frame(2);
  EXPECT_EQ(d.bench.ui.look.stats.statistic, backend::Statistic::kAbsmax);
  // The engine has not got all of it: the frames have.
  d.answer({false, false, false, false});
  d.frame(1);
  d.expect_sources("frames", "frames", "frames", "frames");
}

TEST(StatsPictures, WhileTokensCome_AGpusPictureStaysAndACpusDoesNot) {
  for (const bool gpu : {true, false}) {
    Drawing d(9, gpu);
    d.frame(2);
    d.answer();
    d.frame(1);
    d.expect_sources("picture", "picture", "picture", "picture");
    d.builder.grow_to(12);
    d.take_snapshot();
    d.frame(1);
    const std::string now = gpu ? "picture" : "frames";
    d.expect_sources(now, now, now, now);
    EXPECT_EQ(d.bench.state("norms/map_size"), gpu ? "3 x 9" : "3 x 12");
    // Rewound behind the picture: it shows tokens that are gone.
    d.builder.cut_to(8).grow_to(10);
    d.take_snapshot();
    d.frame(1);
    d.expect_sources("frames", "frames", "frames", "frames");
  }
}

TEST(StatsPictures, WithoutPictures_NothingIsAskedFor) {
  Bench bench(ImVec2(1600.0F, 1000.0F));
  bench.ui.snapshot = sample::Builder({3, 2, 4}).grow_to(9).build();
  bench.frame(2);
  EXPECT_FALSE(bench.ui.look.stats.any());
  EXPECT_EQ(bench.state("logits/bars_source"), "frames");
}

}  // namespace
}  // namespace layerscope::gui

// The attention panel with pictures of the engine: what it asks for and what it shows of them.
#include <gtest/gtest.h>

#include "tests/gui/panels/bench.h"
#include "tests/gui/view/sample.h"

namespace layerscope::gui {
namespace {

/// A session whose rows are elsewhere, and a picture of it.
struct Drawing {
  explicit Drawing(int n) : builder({3, 2, 4}) {
    builder.grow_to(n);
    auto snapshot = builder.build();
    for (int i = 0; i < n; ++i) {
      builder.drop_attention(i);
    }
    snapshot = builder.build();
    snapshot->draws = true;
    snapshot->backend = "cuda";
    bench.ui.snapshot = snapshot;
    bench.ui.pictures = true;
  }
  /// Answers what the last frame asked for, as the worker would.
  void answer() {
    const session::Snapshot& s = *bench.ui.snapshot;
    auto frame = lay_out(bench.ui.look, s.n_frames, {3, 2, 64, {}}, backend::kDrawFloats);
    ASSERT_TRUE(frame.ok());
    floats.assign(frame.value().floats(), 0.25F);
    drawn.frame = frame.value();
    drawn.frame.tag = {s.session_serial, s.frame(s.n_frames - 1)->serial};
    drawn.host = floats.data();
    ++drawn.value;
    ASSERT_TRUE(view::is_complete(drawn, s));
    bench.ui.drawn = &drawn;
  }
  void frame(int n = 1) {
    for (int i = 0; i < n; ++i) {
      bench.ui.look = {};
      bench.frame();
    }
  }
  sample::Builder builder;
  Bench bench{ImVec2(1600.0F, 1000.0F)};
  view::Drawn drawn;
  std::vector<float> floats;
};

TEST(AttentionPictures, Panel_AsksAndShows) {
  Drawing d(9);
  d.frame(2);
  EXPECT_TRUE(d.bench.ui.look.thumbnails);
  EXPECT_EQ(d.bench.ui.look.map.layer, 0);
  EXPECT_EQ(d.bench.ui.look.map.head, 0);
  EXPECT_EQ(d.bench.state("attention/map_source"), "none");
  d.answer();
  d.frame(2);
  EXPECT_EQ(d.bench.state("attention/map_source"), "picture");
  EXPECT_EQ(d.bench.state("attention/map_size"), "9 x 9");
  // Another head: the picture at hand does not show it.
  d.bench.ui.selection.head = 1;
  d.frame(1);
  EXPECT_EQ(d.bench.state("attention/map_source"), "none");
  EXPECT_EQ(d.bench.ui.look.map.head, 1);
  d.answer();
  d.frame(1);
  EXPECT_EQ(d.bench.state("attention/map_source"), "picture");
  // Scores are other values.
  d.bench.ui.settings.show_scores = true;
  d.frame(1);
  EXPECT_EQ(d.bench.state("attention/map_source"), "none");
}

TEST(AttentionPictures, Wheel_ZoomsAndDoubleClickShowsAll) {
  Drawing d(60);
  d.frame(2);
  d.answer();
  d.frame(2);
  d.bench.point("attention/map");
  ImGui::GetIO().AddMouseWheelEvent(0.0F, 1.0F);
  d.frame(2);
  EXPECT_EQ(d.bench.ui.look.map.n_queries, 30);
  EXPECT_GT(d.bench.ui.look.map.first_query, 0);
  EXPECT_EQ(d.bench.state("attention/map_source"), "none");
  d.answer();
  d.frame(2);
  EXPECT_EQ(d.bench.state("attention/map_source"), "picture");
  EXPECT_EQ(d.bench.state("attention/map_size"), "30 x 30");
  for (int i = 0; i < 2; ++i) {
    ImGui::GetIO().AddMouseButtonEvent(0, true);
    d.frame();
    ImGui::GetIO().AddMouseButtonEvent(0, false);
    d.frame();
  }
  d.frame(2);
  EXPECT_EQ(d.bench.ui.look.map.n_queries, 0);
}

TEST(AttentionPictures, WithoutPictures_RowsOfTheFramesAreShown) {
  Bench bench(ImVec2(1600.0F, 1000.0F));
  auto snapshot = sample::Builder({3, 2, 4}).grow_to(9).build();
  bench.ui.snapshot = snapshot;
  bench.frame(2);
  EXPECT_EQ(bench.state("attention/map_source"), "frames");
  EXPECT_FALSE(bench.ui.look.thumbnails);
  EXPECT_EQ(bench.ui.look.map.layer, -1);
}

}  // namespace
}  // namespace layerscope::gui

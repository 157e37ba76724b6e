// Pictures on the host: what is asked for, how it is pooled, who may touch a slot, and the whole
// way from a session's look to the window, against the rows that the session captured.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "engine/session/session.h"
#include "gui/interop/host_sink.h"
#include "gui/view/drawn.h"
#include "tests/support/fixtures.h"

namespace layerscope::gui {
namespace {

using backend::DrawnFrame;
using backend::DrawRequest;
using backend::kDrawHole;
using backend::MapRect;
using backend::MapView;
using interop::HostSink;

/// Index of (row, column) in rows of `width`.
std::size_t at(int row, int width, int column = 0) {
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(width) +
         static_cast<std::size_t>(column);
}

MapView view_of(int first_query, int n_queries, int first_key, int n_keys) {
  return {0, 0, first_query, n_queries, first_key, n_keys, false};
}

TEST(Resolve_Map, WholeAndParts_FitTheScreen) {
  EXPECT_FALSE(resolve(MapView{}, 10).has_value()) << "no head is chosen";
  EXPECT_FALSE(resolve(view_of(10, 4, 0, 0), 10).has_value()) << "behind the last token";
  EXPECT_FALSE(resolve(view_of(0, 0, 0, 0), 0).has_value());
  const auto small = resolve(view_of(0, 0, 0, 0), 10);
  ASSERT_TRUE(small.has_value());
  EXPECT_EQ(small->n_queries, 10);
  EXPECT_EQ(small->n_keys, 10);
  EXPECT_EQ(small->bin, 1);
  EXPECT_EQ(small->side, 64);
  const auto large = resolve(view_of(0, 0, 0, 0), 32768);
  ASSERT_TRUE(large.has_value());
  EXPECT_EQ(large->bin, 32);
  EXPECT_EQ(large->rows(), 1024);
  EXPECT_EQ(large->side, 1024);
  const auto odd = resolve(view_of(100, 5000, 3, 70), 1025);
  ASSERT_TRUE(odd.has_value());
  EXPECT_EQ(odd->n_queries, 925);
  EXPECT_EQ(odd->n_keys, 70);
  EXPECT_EQ(odd->bin, 1);
  EXPECT_EQ(odd->side, 1024);
}

TEST(LayOut_Picture, Grids_DoNotOverlapAndStayInside) {
  DrawRequest request;
  request.thumbnails = true;
  request.map = view_of(0, 0, 0, 0);
  request.row_layer = 1;
  request.row_head = 2;
  for (const int n : {1, 64, 65, 1000, 40000}) {
    const auto frame = lay_out(request, n, {24, 14, 64, {}}, backend::kDrawFloats);
    ASSERT_TRUE(frame.ok());
    const DrawnFrame& f = frame.value();
    EXPECT_LE(f.thumbnails.offset + f.thumbnails.floats(), f.map.offset);
    EXPECT_LE(f.map.offset + f.map.floats(), f.row.offset);
    EXPECT_LE(f.row.offset + f.row.floats(), f.floats());
    EXPECT_LE(f.floats(), backend::kDrawFloats);
    EXPECT_GE(f.side * f.bin, n);
    EXPECT_GE(f.row.floats(), static_cast<std::size_t>(n));
    EXPECT_EQ(f.row_position, n - 1);
  }
  EXPECT_FALSE(lay_out(request, 100, {24, 14, 64, {}}, 1000).ok()) << "there is no room";
  request.map.layer = 24;
  const auto outside = lay_out(request, 100, {24, 14, 64, {}}, backend::kDrawFloats);
  ASSERT_TRUE(outside.ok());
  EXPECT_TRUE(outside.value().map.empty()) << "there is no such layer";
}

TEST(PoolIntoMap, AnyPart_EqualsNaive) {
  std::mt19937 random(11);
  std::uniform_real_distribution<float> uniform(0.0F, 1.0F);
  const int n = 150;
  std::vector<float> rows(at(n, n));
  for (float& v : rows) {
    v = uniform(random);
  }
  rows[77 * n + 30] = NAN;
  for (const MapRect& rect :
       {MapRect{0, 0, 0, n, 0, n, 1, 256, false}, MapRect{0, 0, 0, n, 0, n, 4, 64, false},
        MapRect{0, 0, 33, 80, 17, 60, 2, 64, false}, MapRect{0, 0, 5, 1, 0, 6, 1, 64, false}}) {
    std::vector<float> cells(at(rect.side, rect.side), kDrawHole);
    for (int first = 0; first < n; first += 32) {
      const int count = std::min(32, n - first);
      pool_into_map(rect, first, count, std::span(rows).subspan(at(first, n)), n, cells);
    }
    for (int r = 0; r < rect.side; ++r) {
      for (int c = 0; c < rect.side; ++c) {
        float expected = kDrawHole;
        for (int q = rect.first_query + r * rect.bin; q < rect.first_query + (r + 1) * rect.bin;
             ++q) {
          for (int k = rect.first_key + c * rect.bin; k < rect.first_key + (c + 1) * rect.bin;
               ++k) {
            if (q >= rect.first_query + rect.n_queries || k >= rect.first_key + rect.n_keys ||
                k > q || std::isnan(expected)) {
              continue;
            }
            const float v = rows[at(q, n, k)];
            expected = std::isnan(v) ? v : std::max(expected, v);
          }
        }
        const float got = cells[at(r, rect.side, c)];
        if (std::isnan(expected)) {
          EXPECT_TRUE(std::isnan(got));
        } else {
          EXPECT_EQ(got, expected) << "bin " << rect.bin << " cell " << r << " " << c;
        }
      }
    }
  }
}

TEST(HostSink_Slots, PictureStaysUntilTheNextIsTaken) {
  HostSink sink(16);
  EXPECT_FALSE(sink.take(0).has_value());
  for (int i = 1; i <= 20; ++i) {
    const auto place = sink.acquire();
    ASSERT_TRUE(place.has_value()) << i;
    EXPECT_EQ(place->floats, 16U);
    std::fill_n(place->data, 16, static_cast<float>(i));
    DrawnFrame frame;
    frame.n_tokens = i;
    ASSERT_TRUE(sink.publish(*place, nullptr, frame).ok());
    const auto picture = sink.take(0);
    ASSERT_TRUE(picture.has_value());
    EXPECT_EQ(picture->frame.n_tokens, i);
    EXPECT_EQ(picture->host[15], static_cast<float>(i));
    // Another writer has to leave it alone.
    const auto other = sink.acquire();
    ASSERT_TRUE(other.has_value());
    EXPECT_NE(other->data, picture->host);
    sink.abandon(*other);
  }
}

/// A session on the demo model whose pictures go to `sink`.
struct Watched {
  Watched() {
    session::SessionOptions options;
    options.backend = "cpu";
    options.threads = 1;
    options.context = 256;
    options.draw = true;
    sink = std::make_shared<HostSink>();
    session = std::make_unique<session::Session>(std::move(options));
    session->set_draw_sink(sink);
    session->send(session::LoadModel{layerscope::testing::demo_model()});
    session->send(session::SetPrompt{"Once upon a time, a fox found a ball.", false});
    session->send(session::Step{0});
    session->wait_idle();
  }
  std::optional<interop::Picture> look(const DrawRequest& request) {
    session->look(request);
    for (int i = 0; i < 2000; ++i) {
      const auto picture = sink->take(~std::uint64_t{0});
      if (picture && picture->frame.ticket == request.ticket) {
        return picture;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return std::nullopt;
  }
  std::shared_ptr<HostSink> sink;
  std::unique_ptr<session::Session> session;
};

TEST(SessionLook_Cpu, PartOfAMap_IsTheCapturedRows) {
  Watched w;
  const auto before = w.session->snapshot();
  ASSERT_GT(before->n_frames, 8);
  DrawRequest request;
  request.ticket = 7;
  request.map = view_of(3, 5, 1, 4);
  request.map.layer = 2;
  request.map.head = 1;
  request.row_layer = 2;
  request.row_head = 1;
  request.row_position = 6;
  const auto picture = w.look(request);
  ASSERT_TRUE(picture.has_value());
  const DrawnFrame& frame = picture->frame;
  EXPECT_TRUE(frame.thumbnails.empty()) << "they are made of the frames' own rows";
  const view::Drawn drawn{frame, -1, picture->host, picture->value};
  EXPECT_TRUE(view::is_complete(drawn, *before));
  for (int q = 3; q < 8; ++q) {
    const auto row = before->frame(q)->attention_row(2, 1);
    for (int k = 1; k < 5; ++k) {
      const float got = picture->host[frame.map.offset + at(q - 3, frame.map.width) +
                                      static_cast<std::size_t>(k - 1)];
      if (k > q) {
        EXPECT_EQ(got, kDrawHole);
      } else {
        EXPECT_NEAR(got, row[static_cast<std::size_t>(k)], 1e-6F) << q << " " << k;
      }
    }
  }
  const auto row = before->frame(6)->attention_row(2, 1);
  for (std::size_t k = 0; k < row.size(); ++k) {
    EXPECT_NEAR(picture->host[frame.row.offset + k], row[k], 1e-6F);
  }
  // Scores are the logarithms, shifted by the row's own constant.
  request.ticket = 8;
  request.map.scores = true;
  const auto scores = w.look(request);
  ASSERT_TRUE(scores.has_value());
  for (int q = 3; q < 8; ++q) {
    const float p = before->frame(q)->attention_row(2, 1)[1];
    EXPECT_NEAR(scores->host[scores->frame.map.offset + at(q - 3, scores->frame.map.width)],
                std::log(p) + before->frame(q)->head(2, 1).lse, 1e-5F);
  }
  // After one more token the picture no longer shows everything, after a new prompt nothing.
  w.session->send(session::Step{1});
  w.session->wait_idle();
  EXPECT_TRUE(view::shows(drawn, *w.session->snapshot()));
  EXPECT_FALSE(view::is_complete(drawn, *w.session->snapshot()));
  w.session->send(session::SetPrompt{"Another one.", false});
  w.session->send(session::Step{0});
  w.session->wait_idle();
  EXPECT_FALSE(view::shows(drawn, *w.session->snapshot()));
}

TEST(SessionLook_Cpu, WithoutASink_AndAfterIt_NothingHangs) {
  Watched w;
  w.session->set_draw_sink(nullptr);
  DrawRequest request;
  request.map = view_of(0, 0, 0, 0);
  w.session->look(request);
  w.session->send(session::Step{2});
  w.session->wait_idle();
  for (int i = 0; i < 2000 && w.sink.use_count() > 1; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(w.sink.use_count(), 1) << "the worker still holds the sink";
  w.session->set_draw_sink(w.sink);
  for (int i = 0; i < 50; ++i) {
    w.session->look(request);
  }
  w.session.reset();  // while pictures are wanted
}

TEST(InspectAttention_Cpu, ExactValues_AreFoundByTheViews) {
  Watched w;
  w.session->send(session::InspectAttention{1, 3, 2, 4, 3, 2, 3});
  w.session->send(session::InspectAttention{0, 99, 0, 0, 1, 0, 1});
  w.session->wait_idle();
  const auto snapshot = w.session->snapshot();
  ASSERT_NE(snapshot->attention_values[1], nullptr);
  EXPECT_EQ(snapshot->attention_values[1]->error, "");
  EXPECT_EQ(snapshot->attention_values[1]->values.size(), 9U);
  ASSERT_NE(snapshot->attention_values[0], nullptr);
  EXPECT_NE(snapshot->attention_values[0]->error, "");
  session::Snapshot without = *snapshot;  // as of a backend that keeps its rows
  without.chunks.clear();
  for (const auto& chunk : snapshot->chunks) {
    auto bare = std::make_shared<session::FrameChunk>();
    for (const auto& frame : chunk->frames) {
      auto copy = std::make_shared<capture::TokenFrame>(*frame);
      copy->attention = nullptr;
      bare->frames.push_back(copy);
    }
    without.chunks.push_back(bare);
  }
  for (int q = 0; q < 9; ++q) {
    for (int k = 0; k <= q; ++k) {
      const auto value = view::exact_value(without, 3, 2, q, k);
      const bool asked = q >= 4 && q < 7 && k >= 2 && k < 5;
      ASSERT_EQ(value.has_value(), asked) << q << " " << k;
      if (asked) {
        EXPECT_EQ(*value, snapshot->frame(q)->attention_row(3, 2)[static_cast<std::size_t>(k)]);
      }
    }
  }
  EXPECT_FALSE(view::exact_value(without, 3, 1, 4, 2).has_value()) << "another head";
}

TEST(Zoom_Map, CloserAndBack_StaysInside) {
  const int n = 500;
  auto rect = resolve(view_of(0, 0, 0, 0), n);
  ASSERT_TRUE(rect.has_value());
  for (int i = 0; i < 12; ++i) {
    rect = resolve(view::zoomed(*rect, 480, 3, true, n), n);
    ASSERT_TRUE(rect.has_value());
    EXPECT_LE(rect->first_query, 480);
    EXPECT_GT(rect->first_query + rect->n_queries, 480);
    EXPECT_EQ(rect->first_key, 0);
    EXPECT_LE(rect->first_query + rect->n_queries, n);
  }
  EXPECT_EQ(rect->n_queries, 8);
  const auto way = resolve(view::moved(*rect, 1000, -5, n), n);
  ASSERT_TRUE(way.has_value());
  EXPECT_EQ(way->first_query, n - 8);
  EXPECT_EQ(way->first_key, 0);
  for (int i = 0; i < 12; ++i) {
    rect = resolve(view::zoomed(*rect, 480, 3, false, n), n);
    ASSERT_TRUE(rect.has_value());
  }
  EXPECT_EQ(rect->n_queries, n);
  EXPECT_EQ(rect->n_keys, n);
}

}  // namespace
}  // namespace layerscope::gui

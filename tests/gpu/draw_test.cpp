// Pictures made on the GPU: against rows recomputed and captured one by one, while the tokens grow,
// after a rewind, and without changing a logit.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "tests/gpu/drawing.h"

namespace layerscope::testing {
namespace {

using backend::DrawnFrame;
using backend::DrawRequest;
using backend::kDrawHole;

/// Index of (row, column) in rows of `width`.
std::size_t at(int row, int width, int column = 0) {
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(width) +
         static_cast<std::size_t>(column);
}

/// Map and row against the plain loops over recomputed rows.
void expect_oracle(const session::Generator& generator, const Picture& picture,
                   const std::string& what) {
  std::vector<float> expected(picture.frame.floats(), 0.0F);
  const auto lse = [&generator](int layer, int head, int query) {
    return generator.frames()[static_cast<std::size_t>(query)]->head(layer, head).lse;
  };
  ASSERT_TRUE(draw_on_host(generator.backend(), picture.frame, lse, expected.data(), {}).ok());
  for (const backend::DrawGrid* grid : {&picture.frame.map, &picture.frame.row}) {
    for (std::size_t i = grid->offset; i < grid->offset + grid->floats(); ++i) {
      const float want = expected[i];
      if (want == kDrawHole) {
        ASSERT_EQ(picture.host[i], want) << what << ": float " << i;
      } else {
        ASSERT_NEAR(picture.host[i], want, 2e-5 * (1.0 + std::fabs(want))) << what << ": " << i;
      }
    }
  }
}

/// Thumbnails against every captured row, cell by cell.
void expect_thumbnails(const session::Generator& generator, const Picture& picture,
                       const std::string& what) {
  const DrawnFrame& frame = picture.frame;
  const model::DecoderSpec& spec = generator.model().spec;
  ASSERT_EQ(frame.thumbnails.width, spec.n_heads * frame.side);
  ASSERT_EQ(frame.thumbnails.height, spec.n_layers * frame.side);
  const int layer = spec.n_layers - 1;
  for (int head = 0; head < spec.n_heads; ++head) {
    std::vector<float> cells(at(frame.side, frame.side), kDrawHole);
    for (int q = 0; q < frame.n_tokens; ++q) {
      std::vector<float> row(static_cast<std::size_t>(q) + 1);
      const auto& token = *generator.frames()[static_cast<std::size_t>(q)];
      ASSERT_TRUE(generator.backend().captured_row(token, layer, head, row).ok());
      for (int k = 0; k <= q; ++k) {
        float& cell = cells[at(q / frame.bin, frame.side, k / frame.bin)];
        cell = std::max(cell, std::sqrt(row[static_cast<std::size_t>(k)]));
      }
    }
    for (int y = 0; y < frame.side; ++y) {
      for (int x = 0; x < frame.side; ++x) {
        const float want = cells[at(y, frame.side, x)];
        const float got = picture.host[frame.thumbnails.offset +
                                       static_cast<std::size_t>(layer * frame.side + y) *
                                           static_cast<std::size_t>(frame.thumbnails.width) +
                                       static_cast<std::size_t>(head * frame.side + x)];
        if (want == kDrawHole) {
          ASSERT_EQ(got, want) << what << ": head " << head << " cell " << y << " " << x;
        } else {
          ASSERT_NEAR(got, want, 0.51 / 254.0)
              << what << ": head " << head << " cell " << y << " " << x;
        }
      }
    }
  }
}

DrawRequest whole(int layer, int head, bool scores = false) {
  DrawRequest request;
  request.thumbnails = true;
  request.map.layer = layer;
  request.map.head = head;
  request.map.scores = scores;
  request.row_layer = layer;
  request.row_head = head;
  return request;
}

class GpuDraw : public ::testing::TestWithParam<std::string> {};

TEST_P(GpuDraw, Pictures_GrowingAndRewound_EqualOracle) {
  LS_NEEDS_CUDA();
  const auto model = load(GetParam());
  auto generator = drawing_generator(model, 400);
  HostSink sink;
  std::vector<std::int32_t> prompt(23);
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    prompt[i] = static_cast<std::int32_t>(5 + i * 3 % 150);
  }
  ASSERT_TRUE(generator.evaluate(prompt, false, {}).ok());
  const int layer = model->spec.n_layers - 1;
  const int head = model->spec.n_heads - 1;
  const auto look = [&](const std::string& what, const DrawRequest& request) {
    const auto picture = draw(generator, sink, request);
    ASSERT_TRUE(picture.has_value());
    EXPECT_EQ(picture->frame.n_tokens, static_cast<int>(generator.frames().size()));
    EXPECT_EQ(picture->frame.tag.last_serial, generator.frames().back()->serial);
    expect_oracle(generator, *picture, what);
    if (request.thumbnails) {
      expect_thumbnails(generator, *picture, what);
    }
  };
  look("prompt", whole(layer, head));
  for (const int n : {1, 2, 37, 1, 1, 1, 60, 70, 130}) {
    append(generator, n);
    look(std::to_string(generator.frames().size()) + " tokens", whole(layer, head));
  }
  look("scores", whole(layer, head, true));
  look("another head", whole(0, 0));
  DrawRequest part = whole(layer, head);
  part.map.first_query = 100;
  part.map.n_queries = 90;
  part.map.first_key = 37;
  part.map.n_keys = 120;
  part.row_position = 41;
  look("a part", part);
  ASSERT_TRUE(generator.rewind(50, {}).ok());
  look("rewound", whole(layer, head));
  append(generator, 20);
  look("another way", whole(layer, head));
}

// Small enough for compute-sanitizer's slow tools.
TEST_P(GpuDraw, Pictures_OfAFewTokens_EqualOracle) {
  LS_NEEDS_CUDA();
  const auto model = load(GetParam());
  auto generator = drawing_generator(model, 100);
  HostSink sink;
  ASSERT_TRUE(generator.evaluate(std::vector<std::int32_t>{3, 14, 15, 92, 65}, false, {}).ok());
  for (int i = 0; i < 2; ++i) {
    append(generator, 1);
    const auto picture = draw(generator, sink, whole(0, 1, i == 1));
    ASSERT_TRUE(picture.has_value());
    expect_oracle(generator, *picture, "few");
    expect_thumbnails(generator, *picture, "few");
  }
}

TEST_P(GpuDraw, Logits_WhileDrawing_SameBits) {
  LS_NEEDS_CUDA();
  const auto model = load(GetParam());
  auto plain = drawing_generator(model, 200, false);
  auto drawn = drawing_generator(model, 200);
  const std::vector<std::int32_t> prompt{9, 8, 7, 6, 5};
  ASSERT_TRUE(plain.evaluate(prompt, false, {}).ok());
  ASSERT_TRUE(drawn.evaluate(prompt, false, {}).ok());
  EXPECT_GT(plain.backend().drawn_bytes_to_host(), 0U);
  EXPECT_EQ(drawn.backend().drawn_bytes_to_host(), 0U);
  HostSink sink;
  std::uint64_t pictures = 0;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(plain.append(i, capture::Origin::kForced, {}).ok());
    ASSERT_TRUE(drawn.append(i, capture::Origin::kForced, {}).ok());
    const std::vector<float> a(plain.logits().begin(), plain.logits().end());
    const std::vector<float> b(drawn.logits().begin(), drawn.logits().end());
    ASSERT_EQ(a.size(), b.size());
    ASSERT_EQ(0, std::memcmp(a.data(), b.data(), a.size() * sizeof(float))) << i;
    if (i == 49) {
      EXPECT_EQ(drawn.backend().drawn_bytes_to_host(), 0U) << "nothing was drawn, nothing copied";
    }
    if (i >= 50) {
      pictures += draw(drawn, sink, whole(0, 0)) ? 1 : 0;
    }
  }
  EXPECT_EQ(pictures, 50U);
  EXPECT_GT(drawn.backend().drawn_bytes_to_host(), 0U) << "this sink is in host memory";
}

INSTANTIATE_TEST_SUITE_P(Models, GpuDraw,
                         ::testing::Values(golden("qwen2", "model.gguf"),
                                           golden("llama", "model.gguf"), demo_model()));

// A milliard pairs in a million cells, and a part of them one by one.
TEST(GpuDraw, Pictures_Of32kTokens_EqualOracle) {
  LS_NEEDS_CUDA();
  const auto model = load(golden("qwen2", "model.gguf"));
  constexpr int kTokens = 32768;
  auto generator = drawing_generator(model, kTokens + 8);
  HostSink sink;
  std::vector<std::int32_t> ids(kTokens - 1);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>(3 + (i * i * 31 + i * 7) % 200);
  }
  ASSERT_TRUE(generator.evaluate(ids, false, {}).ok());
  append(generator, 1);
  const auto timed = [&](const std::string& what, const DrawRequest& request) {
    const auto start = std::chrono::steady_clock::now();
    auto picture = draw(generator, sink, request);
    const auto taken = std::chrono::steady_clock::now() - start;
    std::printf("%s: %.2f ms, with the copy to the host\n", what.c_str(),
                std::chrono::duration<double, std::milli>(taken).count());
    return picture;
  };
  DrawRequest request = whole(1, 2);
  request.thumbnails = false;
  const auto picture = timed("all of 32,768 x 32,768", request);
  ASSERT_TRUE(picture.has_value());
  EXPECT_EQ(picture->frame.rect.bin, 32);
  EXPECT_EQ(picture->frame.rect.rows(), 1024);
  expect_oracle(generator, *picture, "32k");
  append(generator, 1);
  ASSERT_TRUE(timed("one token more", request).has_value());
  request.map.first_query = 31000;
  request.map.n_queries = request.map.n_keys = 700;
  request.map.first_key = 12345;
  const auto part = timed("700 x 700 of them", request);
  ASSERT_TRUE(part.has_value());
  EXPECT_EQ(part->frame.rect.bin, 1);
  expect_oracle(generator, *part, "a part of 32k");
}

TEST(GpuDraw, FullSlots_AreCountedAndNothingWaits) {
  LS_NEEDS_CUDA();
  auto generator = drawing_generator(load(demo_model()), 64);
  ASSERT_TRUE(generator.evaluate(std::vector<std::int32_t>{1, 2, 3}, false, {}).ok());
  HostSink sink;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(sink.acquire().has_value());
  }
  const auto made = generator.draw(whole(0, 0), 1, sink, {});
  ASSERT_TRUE(made.ok());
  EXPECT_FALSE(made.value());
  EXPECT_EQ(sink.dropped(), 1U);
}

}  // namespace
}  // namespace layerscope::testing

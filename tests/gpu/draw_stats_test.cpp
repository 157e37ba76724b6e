// Statistics drawn from what the GPU kept of them, against the frames on the host: while the tokens
// grow, after a rewind, on another branch, and with values that are no numbers.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>

#include "tests/gpu/drawing.h"

namespace layerscope::testing {
namespace {

using backend::DrawGrid;
using backend::DrawRequest;
using backend::kDrawHole;
using capture::Tap;
using Frames = std::vector<std::shared_ptr<const capture::TokenFrame>>;

DrawRequest everything(Tap tap, backend::Statistic statistic, int position = -1) {
  DrawRequest request;
  request.stats = {tap, statistic, true, true, position};
  return request;
}

/// Every cell of the picture's statistics; norms bit for bit, distributions within rounding of
/// exp and log.
void expect_frames(session::Generator& generator, HostSink& sink, const DrawRequest& request,
                   const std::string& what) {
  const auto picture = draw(generator, sink, request);
  ASSERT_TRUE(picture.has_value()) << what;
  const backend::DrawnStats& stats = picture->frame.stats;
  const int n = static_cast<int>(generator.frames().size());
  ASSERT_EQ(picture->frame.n_tokens, n) << what;
  ASSERT_FALSE(stats.map.empty() || stats.profile.empty() || stats.bars.empty() ||
               stats.series.empty())
      << what << ": a part is missing";
  std::vector<float> expected(picture->frame.floats(), 0.0F);
  draw_stats_on_host(
      stats, n,
      [&generator](int i) { return generator.frames()[static_cast<std::size_t>(i)].get(); },
      expected.data());
  const auto compare = [&](const DrawGrid& grid, const char* part, float tolerance) {
    std::size_t values = 0;
    for (std::size_t i = grid.offset; i < grid.offset + grid.floats(); ++i) {
      const float want = expected[i];
      const float got = picture->host[i];
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(got)) << what << ": " << part << " " << i - grid.offset;
      } else if (want == kDrawHole || std::isinf(want)) {
        ASSERT_EQ(got, want) << what << ": " << part << " " << i - grid.offset;
      } else {
        ASSERT_NEAR(got, want, tolerance * std::max(1.0F, std::fabs(want)))
            << what << ": " << part << " " << i - grid.offset;
        ++values;
      }
    }
    EXPECT_GT(values, 0U) << what << ": " << part << " is empty";
  };
  compare(stats.map, "map", 0.0F);
  compare(stats.profile, "profile", 0.0F);
  compare(stats.bars, "bars", 2e-6F);
  compare(stats.series, "series", 2e-6F);
}

std::vector<std::int32_t> ids(std::size_t n) {
  std::vector<std::int32_t> all(n);
  for (std::size_t i = 0; i < n; ++i) {
    all[i] = static_cast<std::int32_t>(3 + (i * i * 31 + i * 7) % 200);
  }
  return all;
}

class GpuDrawStats : public ::testing::TestWithParam<std::string> {};

TEST_P(GpuDrawStats, GrowingAndRewound_EqualFrames) {
  LS_NEEDS_CUDA();
  auto generator = drawing_generator(load(GetParam()), 400);
  HostSink sink;
  ASSERT_TRUE(generator.evaluate(ids(23), false, {}).ok());
  expect_frames(generator, sink, everything(Tap::kResidOut, backend::Statistic::kL2), "prompt");
  for (const int n : {1, 2, 37, 1, 130}) {
    append(generator, n);
    const std::string what = std::to_string(generator.frames().size()) + " tokens";
    for (const Tap tap : {Tap::kResidOut, Tap::kFfnAct, Tap::kQ, Tap::kKRope, Tap::kEmbedding,
                          Tap::kFinalNorm, Tap::kLogits}) {
      expect_frames(generator, sink, everything(tap, backend::Statistic::kAbsmax), what);
    }
    expect_frames(generator, sink, everything(Tap::kAttnOut, backend::Statistic::kL2, 22),
                  what + ", an older one selected");
  }
  ASSERT_TRUE(generator.rewind(50, {}).ok());
  expect_frames(generator, sink, everything(Tap::kResidOut, backend::Statistic::kL2), "rewound");
  ASSERT_TRUE(generator.rewind(11, {}).ok());
  expect_frames(generator, sink, everything(Tap::kResidMid, backend::Statistic::kL2),
                "rewound into the prompt");
  append(generator, 20);
  expect_frames(generator, sink, everything(Tap::kV, backend::Statistic::kL2), "another way");
  ASSERT_TRUE(generator.evaluate(ids(9), false, {}).ok());
  expect_frames(generator, sink, everything(Tap::kV, backend::Statistic::kL2), "a second prompt");
  capture::PassCapture looked;
  ASSERT_TRUE(generator.inspect(5, {capture::Tier::kFull}, {}, looked).ok());
  EXPECT_FALSE(generator.frames()[5]->logits.has_value());
  expect_frames(generator, sink, everything(Tap::kV, backend::Statistic::kL2), "looked at");
  generator.reset();
  ASSERT_TRUE(generator.evaluate(ids(5), false, {}).ok());
  expect_frames(generator, sink, everything(Tap::kV, backend::Statistic::kL2), "restarted");
}

// Steps that the GPU did ahead and that nobody asked for must not show.
TEST_P(GpuDrawStats, SteppedAheadAndSwitched_EqualFrames) {
  LS_NEEDS_CUDA();
  auto generator = drawing_generator(load(GetParam()), 200);
  HostSink sink;
  ASSERT_TRUE(generator.evaluate(ids(7), false, {}).ok());
  const auto run = [&](int n) {
    for (int i = 0; i < n; ++i) {
      generator.ahead = 2;
      const auto id = generator.choose();
      ASSERT_TRUE(id.ok());
      ASSERT_TRUE(generator.append(id.value(), capture::Origin::kSampled, {}).ok());
      if (i % 5 == 0) {
        expect_frames(generator, sink, everything(Tap::kResidOut, backend::Statistic::kL2),
                      "ahead " + std::to_string(i));
      }
    }
  };
  run(22);
  const Frames first = generator.frames();
  ASSERT_TRUE(generator.rewind(9, {}).ok());
  append(generator, 30);
  const Frames second = generator.frames();
  for (const Frames& line : {first, second, first}) {
    generator.adopt(line);
    ASSERT_TRUE(generator.catch_up(line.size(), {}).ok());
    expect_frames(generator, sink, everything(Tap::kFfnOut, backend::Statistic::kL2), "switched");
    append(generator, 2);
    expect_frames(generator, sink, everything(Tap::kFfnOut, backend::Statistic::kL2), "gone on");
  }
}

TEST_P(GpuDrawStats, NotANumberInfinityAndZero_AreKept) {
  LS_NEEDS_CUDA();
  auto generator = drawing_generator(load(GetParam()), 200);
  HostSink sink;
  ASSERT_TRUE(generator.evaluate(ids(40), false, {}).ok());
  append(generator, 4);
  Frames odd = generator.frames();
  const auto change = [&odd](std::size_t at, auto edit) {
    auto copy = std::make_shared<capture::TokenFrame>(*odd[at]);
    edit(*copy);
    odd[at] = std::move(copy);
  };
  const auto stats = [](capture::TokenFrame& f, int layer) -> capture::TapStats& {
    return f.taps[static_cast<std::size_t>(layer) * capture::kNumTaps +
                  static_cast<std::size_t>(Tap::kResidOut)];
  };
  change(30, [&](capture::TokenFrame& f) { stats(f, 0).non_finite = 3; });
  change(31,
         [&](capture::TokenFrame& f) { stats(f, 1).l2 = std::numeric_limits<float>::infinity(); });
  change(32, [&](capture::TokenFrame& f) { stats(f, 0).l2 = 0.0F; });
  change(33, [&](capture::TokenFrame& f) { stats(f, 1).count = 0; });
  change(34, [&](capture::TokenFrame& f) { f.taps.clear(); });
  change(43, [&](capture::TokenFrame& f) {
    f.logits->min = -std::numeric_limits<float>::infinity();
    f.logits->entropy = std::nanf("");
  });
  generator.adopt({odd.begin(), odd.begin() + 3});
  generator.adopt(odd);
  ASSERT_TRUE(generator.catch_up(odd.size(), {}).ok());
  expect_frames(generator, sink, everything(Tap::kResidOut, backend::Statistic::kL2), "odd values");
}

TEST_P(GpuDrawStats, FewTokens_EqualFrames) {  // for compute-sanitizer's slow tools
  LS_NEEDS_CUDA();
  auto generator = drawing_generator(load(GetParam()), 64);
  HostSink sink;
  ASSERT_TRUE(generator.evaluate(ids(5), false, {}).ok());
  append(generator, 2);
  expect_frames(generator, sink, everything(Tap::kResidOut, backend::Statistic::kL2), "few");
  ASSERT_TRUE(generator.rewind(5, {}).ok());
  expect_frames(generator, sink, everything(Tap::kLogits, backend::Statistic::kL2), "fewer");
}

INSTANTIATE_TEST_SUITE_P(Models, GpuDrawStats,
                         ::testing::Values(golden("qwen2", "model.gguf"),
                                           golden("llama", "model.gguf"), demo_model()));

// More tokens than columns; and what a picture costs.
TEST(GpuDrawStats, ManyTokens_ArePooledAndCheap) {
  LS_NEEDS_CUDA();
  constexpr int kTokens = 9000;
  auto generator = drawing_generator(load(golden("qwen2", "model.gguf")), kTokens + 80);
  HostSink sink;
  ASSERT_TRUE(generator.evaluate(ids(kTokens), false, {}).ok());
  const DrawRequest request = everything(Tap::kResidOut, backend::Statistic::kL2);
  expect_frames(generator, sink, request, "9,000 tokens");
  append(generator, 60);
  expect_frames(generator, sink, request, "9,060 tokens");
  const auto start = std::chrono::steady_clock::now();
  constexpr int kPictures = 200;
  for (int i = 0; i < kPictures; ++i) {
    ASSERT_TRUE(draw(generator, sink, request).has_value());
  }
  const auto taken = std::chrono::steady_clock::now() - start;
  std::printf("a picture of all statistics of %d tokens: %.1f us, with its copy to the host\n",
              kTokens + 60, std::chrono::duration<double, std::micro>(taken).count() / kPictures);
}

}  // namespace
}  // namespace layerscope::testing

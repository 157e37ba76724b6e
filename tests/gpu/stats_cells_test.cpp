// What the kernels keep of a position and draw of it, run on the host thread by thread, against the
// frames. Needs no GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "engine/backend/draw.h"
#include "kernels/cuda/stats_cells.h"

namespace layerscope::testing {
namespace {

namespace gpu = kernels::cuda;
using capture::Tap;
constexpr int kLayers = 3;
constexpr std::array kTaps{Tap::kAttnOut, Tap::kFfnOut, Tap::kResidOut};
constexpr int kColumns = kLayers * 3;

/// Frames, and the same statistics as the GPU has them before they are kept.
struct Kept {
  explicit Kept(int n_tokens) : n(n_tokens), context(n_tokens + 5) {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> uniform(0.1F, 9.0F);
    planes.resize(static_cast<std::size_t>((2 * kColumns + 4) * context));
    lengths.resize(static_cast<std::size_t>(context * gpu::kTopLogits));
    ids.resize(lengths.size());
    history = {planes.data(), lengths.data(), ids.data(), nullptr, kColumns, context};
    for (float& v : planes) {
      v = gpu::float_of(gpu::kUnknownBits);
    }
    for (float& v : lengths) {
      v = gpu::float_of(gpu::kUnknownBits);
    }
    for (int p = 0; p < n; ++p) {
      capture::TokenFrame f;
      f.position = p;
      f.id = p % 40;
      f.n_layers = kLayers;
      f.taps.resize((kLayers + 1) * capture::kNumTaps);
      for (int layer = 0; layer < kLayers; ++layer) {
        for (int t = 0; t < 3; ++t) {
          gpu::FinishedStats s{uniform(random), uniform(random), 0.0F, 16, 0, 0};
          const int odd = static_cast<int>(random() % 40);
          s.non_finite = odd == 0 ? 2 : 0;
          s.count = odd == 1 ? 0 : 16;
          s.l2 = odd == 2 ? 0.0F : odd == 3 ? std::numeric_limits<float>::infinity() : s.l2;
          gpu::keep_column(history, layer * 3 + t, p, s);
          f.taps[static_cast<std::size_t>(layer) * capture::kNumTaps +
                 static_cast<std::size_t>(kTaps[static_cast<std::size_t>(t)])] = {
              s.l2, s.absmax, s.mean, s.count, s.non_finite, s.zeros};
        }
      }
      if (p % 5 != 2) {
        f.logits = keep_distribution(random, p);
      }
      frames.push_back(std::make_unique<capture::TokenFrame>(std::move(f)));
    }
  }

  /// Ranked logits of a made-up vocabulary of 50, 20 of them usable at times.
  capture::LogitSummary keep_distribution(std::mt19937& random, int position) {
    std::normal_distribution<float> normal(0.0F, 3.0F);
    gpu::RawLogitSummary raw;
    const int n_usable = position % 11 == 0 ? 0 : position % 3 == 0 ? 20 : 50;
    std::vector<std::pair<float, int>> logits;
    for (int i = 0; i < n_usable; ++i) {
      logits.emplace_back(normal(random), i);
    }
    std::sort(logits.rbegin(), logits.rend());
    raw.n_usable = static_cast<std::uint32_t>(n_usable);
    raw.n_top = position % 13 == 0 ? -1 : std::min(n_usable, gpu::kTopLogits);
    capture::LogitSummary summary;
    if (n_usable > 0) {
      raw.max = logits.front().first;
      raw.min = logits.back().first;
      for (const auto& [logit, id] : logits) {
        raw.sum += double{logit};
        raw.exp_sum += std::exp(double{logit} - double{raw.max});
        raw.exp_weighted +=
            std::exp(double{logit} - double{raw.max}) * (double{logit} - double{raw.max});
      }
      // Independently: entropy from the probabilities themselves.
      const double lse = double{raw.max} + std::log(raw.exp_sum);
      double entropy = 0.0;
      for (const auto& [logit, id] : logits) {
        const double p = std::exp(double{logit} - lse);
        entropy -= p * std::log2(p);
      }
      summary.min = raw.min;
      summary.max = raw.max;
      summary.mean = static_cast<float>(raw.sum / n_usable);
      summary.entropy = static_cast<float>(entropy);
      for (int i = 0; i < raw.n_top; ++i) {
        raw.ids[i] = logits[static_cast<std::size_t>(i)].second;
        raw.logits[i] = logits[static_cast<std::size_t>(i)].first;
        summary.top.push_back(
            {raw.ids[i], raw.logits[i], static_cast<float>(std::exp(double{raw.logits[i]} - lse))});
      }
    }
    for (int rank = 0; rank < gpu::kTopLogits; ++rank) {
      gpu::keep_rank(history, raw, position, rank);
    }
    return summary;
  }

  int n, context;
  std::vector<float> planes, lengths;
  std::vector<std::int32_t> ids;
  gpu::StatsHistory history;
  std::vector<std::unique_ptr<capture::TokenFrame>> frames;
};

TEST(StatsCells, EveryCell_EqualsTheFrames) {
  for (const int n : {1, 40, 1500, 5000}) {
    Kept run(n);
    for (const int position : {0, n / 2, n - 1}) {
      const backend::StatsLook look{Tap::kFfnOut, backend::Statistic::kAbsmax, true, true,
                                    position};
      backend::DrawnFrame frame;
      frame.stats = lay_out_stats(look, n, kLayers, {}, 0);
      std::vector<float> want(frame.floats(), 0.0F);
      draw_stats_on_host(
          frame.stats, n, [&run](int i) { return run.frames[static_cast<std::size_t>(i)].get(); },
          want.data());
      std::vector<float> got(frame.floats(), 0.0F);
      gpu::StatsPicture p;
      p.history = run.history;
      p.n_tokens = n;
      p.map = got.data() + frame.stats.map.offset;
      p.map_plane = kColumns + 1;
      p.map_step = 3;
      p.map_rows = kLayers;
      p.map_width = frame.stats.map.width;
      p.map_bin = frame.stats.bin;
      p.profile = got.data() + frame.stats.profile.offset;
      p.profile_planes[0] = 2;
      p.profile_planes[1] = 0;
      p.profile_planes[2] = 1;
      p.profile_step = 3;
      p.n_layers = kLayers;
      p.bars = got.data() + frame.stats.bars.offset;
      p.position = position;
      const std::int32_t next =
          position + 1 < n ? run.frames[static_cast<std::size_t>(position) + 1]->id : -1;
      p.next = position + 1 < n ? &next : nullptr;
      p.series = got.data() + frame.stats.series.offset;
      p.series_cells = frame.stats.series.width;
      p.series_bin = frame.stats.series_bin;
      for (int i = 0; i < gpu::picture_cells(p); ++i) {
        gpu::make_cell(p, i);
      }
      for (const backend::DrawGrid* grid :
           {&frame.stats.map, &frame.stats.profile, &frame.stats.bars, &frame.stats.series}) {
        for (std::size_t i = grid->offset; i < grid->offset + grid->floats(); ++i) {
          if (std::isnan(want[i])) {
            ASSERT_TRUE(std::isnan(got[i])) << n << " " << position << ": float " << i;
          } else if (std::isinf(want[i])) {
            ASSERT_EQ(got[i], want[i]);
          } else {
            ASSERT_NEAR(got[i], want[i], 2e-6 * (1.0 + std::fabs(want[i])))
                << n << " " << position << ": float " << i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace layerscope::testing

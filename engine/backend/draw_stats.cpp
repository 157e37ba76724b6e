#include "engine/backend/draw_stats.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/backend/size.h"

namespace layerscope::backend {
namespace {

using capture::TokenFrame;

constexpr int kLeastColumns = 64;

int bin_of(int n_tokens, int most) {
  int bin = 1;
  while (n_tokens > bin * most) {
    bin *= 2;
  }
  return bin;
}

/// Holes are nothing, a NaN is above every number.
float larger(float a, float b) { return std::isnan(b) || b > a ? (std::isnan(a) ? a : b) : a; }

void fill_map(const DrawnStats& stats, int n_tokens, const FrameAt& frame_at, float* out) {
  const capture::Tap tap = *stats.look.tap;
  for (int position = 0; position < n_tokens; ++position) {
    const TokenFrame* frame = frame_at(position);
    for (int row = 0; row < stats.map.height; ++row) {
      const int layer = capture::is_layer_tap(tap) ? row : -1;
      float& cell =
          out[stats.map.offset + size(row) * size(stats.map.width) + size(position / stats.bin)];
      cell = larger(cell, statistic_of(frame, layer, tap, stats.look.statistic));
    }
  }
}

void fill_bars(const DrawnStats& stats, int n_tokens, const FrameAt& frame_at, float* out) {
  const TokenFrame* frame = frame_at(stats.look.position);
  const TokenFrame* next =
      stats.look.position + 1 < n_tokens ? frame_at(stats.look.position + 1) : nullptr;
  if (frame == nullptr || !frame->logits || frame->logits->top.empty()) {
    return;
  }
  const auto& top = frame->logits->top;
  float* lengths = out + stats.bars.offset;
  float* chosen = lengths + stats.bars.width;
  for (std::size_t i = 0; i < top.size() && i < size(stats.bars.width); ++i) {
    lengths[i] = bar_length(top[i].prob, top.front().prob);
    chosen[i] = next != nullptr && next->id == top[i].id ? 1.0F : 0.0F;
  }
}

void fill_series(const DrawnStats& stats, int n_tokens, const FrameAt& frame_at, float* out) {
  const std::size_t cells = size(stats.series.width);
  for (int position = 0; position < n_tokens; ++position) {
    const TokenFrame* frame = frame_at(position);
    if (frame == nullptr || !frame->logits) {
      continue;
    }
    const capture::LogitSummary& s = *frame->logits;
    const std::array<float, kNumSeries> values{s.entropy, s.min, s.mean, s.max};
    for (std::size_t line = 0; line < values.size(); ++line) {
      float& lo = out[stats.series.offset + 2 * line * cells + size(position / stats.series_bin)];
      float& hi = (&lo)[cells];
      const float value = values[line];
      if (std::isfinite(value)) {
        const bool first = lo == kDrawHole || !std::isfinite(lo);
        lo = first ? value : std::min(lo, value);
        hi = first ? value : std::max(hi, value);
      } else if (lo == kDrawHole) {
        lo = hi = value;
      }
    }
  }
}

}  // namespace

Binning stat_columns(int n_tokens) {
  Binning b{kLeastColumns, bin_of(n_tokens, kMostStatColumns)};
  while (b.cells * b.bin < n_tokens) {
    b.cells *= 2;
  }
  return b;
}

Binning series_cells(int n_tokens) {
  const int bin = bin_of(n_tokens, kMostSeriesCells);
  return {(n_tokens + bin - 1) / bin, bin};
}

DrawnStats lay_out_stats(const StatsLook& look, int n_tokens, int n_layers, const KnownStats& known,
                         std::size_t offset) {
  DrawnStats stats;
  stats.look = look;
  stats.look.position = look.position < 0 ? n_tokens - 1 : look.position;
  const auto place = [&offset](DrawGrid& grid, int width, int height, int used_columns) {
    grid = {(offset + 63) / 64 * 64, width, height, used_columns, height};
    offset = grid.offset + grid.floats();
  };
  if (n_tokens <= 0) {
    return stats;
  }
  if (look.tap && known.map) {
    const Binning columns = stat_columns(n_tokens);
    stats.bin = columns.bin;
    place(stats.map, columns.cells, capture::is_layer_tap(*look.tap) ? n_layers : 1,
          (n_tokens + columns.bin - 1) / columns.bin);
  }
  const bool there = stats.look.position < n_tokens;
  if (look.profile && known.profile && there) {
    place(stats.profile, n_layers, static_cast<int>(kProfileTaps.size()), n_layers);
  }
  if (look.logits && known.bars && there) {
    constexpr int kBars = static_cast<int>(capture::kTopTokens);
    place(stats.bars, kBars, 2, kBars);
  }
  if (look.logits && known.series) {
    const Binning cells = series_cells(n_tokens);
    stats.series_bin = cells.bin;
    place(stats.series, cells.cells, 2 * kNumSeries, cells.cells);
  }
  return stats;
}

float statistic_value(const capture::TapStats& stats, Statistic statistic) {
  if (stats.count == 0) {
    return kDrawHole;
  }
  if (stats.non_finite > 0) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  return statistic == Statistic::kAbsmax ? stats.absmax : stats.l2;
}

float statistic_of(const TokenFrame* frame, int layer, capture::Tap tap, Statistic statistic) {
  if (frame == nullptr || !frame->has_stats() || layer >= frame->n_layers) {
    return kDrawHole;
  }
  return statistic_value(frame->stats(layer, tap), statistic);
}

float bar_length(float prob, float largest) {
  const float length = largest > 0.0F ? prob / largest : 0.0F;
  return length > 0.0F ? std::min(length, 1.0F) : 0.0F;  // NaN as well is no length
}

void draw_stats_on_host(const DrawnStats& stats, int n_tokens, const FrameAt& frame_at,
                        float* out) {
  for (const DrawGrid* grid : {&stats.map, &stats.profile, &stats.bars, &stats.series}) {
    std::fill_n(out + grid->offset, grid->floats(), kDrawHole);
  }
  if (!stats.map.empty()) {
    fill_map(stats, n_tokens, frame_at, out);
  }
  if (!stats.profile.empty()) {
    const TokenFrame* frame = frame_at(stats.look.position);
    float* to = out + stats.profile.offset;
    for (const capture::Tap tap : kProfileTaps) {
      for (int layer = 0; layer < stats.profile.width; ++layer) {
        *to++ = statistic_of(frame, layer, tap, Statistic::kL2);
      }
    }
  }
  if (!stats.bars.empty()) {
    fill_bars(stats, n_tokens, frame_at, out);
  }
  if (!stats.series.empty()) {
    fill_series(stats, n_tokens, frame_at, out);
  }
}

}  // namespace layerscope::backend

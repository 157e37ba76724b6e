// Statistics as pictures: the layers × tokens map of one tap, one token's norms over the layers,
// the bars of its next-token distribution, and entropy and range of the logits over all tokens.
//
// What they show is what the frames hold, value by value. A GPU keeps it beside the steps
// (cuda_draw_stats.cpp); `draw_stats_on_host` reads the frames and is the oracle. Plain data and
// pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "engine/backend/draw_grid.h"
#include "engine/capture/frame.h"

namespace layerscope::backend {

/// The statistic of a tap that a map shows.
enum class Statistic : std::uint8_t {
  kL2,      ///< Euclidean norm
  kAbsmax,  ///< largest magnitude
};
inline constexpr int kNumStatistics = 2;

/// Columns of a map and cells of a series, at most; more tokens share one.
inline constexpr int kMostStatColumns = 2048;
inline constexpr int kMostSeriesCells = 1024;
/// Lines of a profile, in this order.
inline constexpr std::array kProfileTaps{capture::Tap::kResidOut, capture::Tap::kAttnOut,
                                         capture::Tap::kFfnOut};
/// Lines of the series: entropy (bit), smallest, mean and largest logit.
inline constexpr int kNumSeries = 4;

/// What is looked at.
struct StatsLook {
  std::optional<capture::Tap> tap;  ///< none: no map
  Statistic statistic = Statistic::kL2;
  bool profile = false;
  bool logits = false;  ///< bars and series
  int position = -1;    ///< of profile and bars; −1: the newest
  [[nodiscard]] bool any() const { return tap.has_value() || profile || logits; }
  bool operator==(const StatsLook&) const = default;
};

/// `cells` of `bin` tokens each; bin is a power of two.
struct Binning {
  int cells = 0, bin = 1;
  bool operator==(const Binning&) const = default;
};
/// Columns of a map: a power of two from 64 on, so that a growing map keeps its texture for long.
Binning stat_columns(int n_tokens);
/// Cells of a series: exactly those that hold tokens.
Binning series_cells(int n_tokens);

/// What a picture holds; a grid is empty where it was not asked for or is not known there.
struct DrawnStats {
  StatsLook look;  ///< its position is resolved
  /// A cell is the largest value of its tokens, NaN where one of them held values that are no
  /// finite numbers. One row per layer, or one for a model-wide tap.
  DrawGrid map;
  int bin = 1;
  DrawGrid profile;  ///< [kProfileTaps][n_layers]; values as those of the map
  /// [2][capture::kTopTokens]: probabilities as parts of the largest, then 1 for the token that
  /// comes next and 0 for others.
  DrawGrid bars;
  /// [2 · kNumSeries][cells]: smallest and largest finite value of each cell, line by line; the
  /// first of the others where there are only such, kDrawHole where no distribution was computed.
  DrawGrid series;
  int series_bin = 1;
};

/// Which parts can be had.
struct KnownStats {
  bool map = true, profile = true, bars = true, series = true;
};
/// Lays out what `look` wants of `n_tokens` positions, from float `offset` on.
DrawnStats lay_out_stats(const StatsLook& look, int n_tokens, int n_layers, const KnownStats& known,
                         std::size_t offset);

/// The frame of a position; null: there is none.
using FrameAt = std::function<const capture::TokenFrame*(int)>;

/// kDrawHole when it was not captured, NaN when values that are no finite numbers were counted.
float statistic_value(const capture::TapStats& stats, Statistic statistic);
/// Of a tap that the frame may lack; `layer` −1: model-wide.
float statistic_of(const capture::TokenFrame* frame, int layer, capture::Tap tap,
                   Statistic statistic);
/// Length of a bar: `prob` as a part of the largest, 0 … 1.
float bar_length(float prob, float largest);

/// Everything of `stats` into `out`, [floats of the picture].
void draw_stats_on_host(const DrawnStats& stats, int n_tokens, const FrameAt& frame_at, float* out);

}  // namespace layerscope::backend

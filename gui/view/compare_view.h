// Comparison: what the Compare tab draws, made from the engine's result. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/compare/comparison.h"
#include "engine/session/comparison_worker.h"
#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

/// Added error, layers downwards, tokens to the right.
struct ErrorMap {
  int layers = 0, positions = 0;
  std::vector<float> values;   ///< [layers][positions]; kHole where it is not known
  std::vector<int> layer_of;   ///< by row
  float lo = 0.0F, hi = 0.0F;  ///< smallest and largest above 0

  /// Row-major on a logarithmic scale; `version` as HeatmapData's.
  [[nodiscard]] HeatmapData data(std::uint64_t version) const;
};
ErrorMap error_map(const compare::Comparison& comparison);

/// Error of the residual stream by layer; NaN where it is not known.
struct BlockLines {
  std::vector<float> inherited, added, own;
  std::vector<int> layers;
  bool any_own = false;
};
BlockLines block_lines(const compare::Comparison& comparison);

/// One line of the list of taps.
struct PairRow {
  std::size_t index = 0;  ///< in Comparison::pairs
  std::string name;       ///< "layer 3 · q_rope"
  std::string place;      ///< "head 2 · position 7": where all that differs is
  std::string error;      ///< "1.2e-03"
  std::string outlier;    ///< "channel 17: 15 %": one channel far beyond the others
  double excess = 0.0;    ///< error in tolerances
  bool diverges = false;
};
/// In order of computation; `only_diverging` leaves out what agrees.
std::vector<PairRow> pair_rows(const compare::Comparison& comparison, bool only_diverging,
                               std::string_view search);

/// What was not compared, by reason: "B · no tap of ours (3): a; b; c".
std::vector<std::string> unmatched_lines(const compare::Comparison& comparison);

/// The ranked faults and the other opinions, most convincing first.
std::vector<std::string> explanation_lines(const session::ComparisonResult& result);
std::vector<std::string> splice_lines(const session::ComparisonResult& result);

}  // namespace layerscope::gui::view

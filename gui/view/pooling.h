// Pooling: lower-triangular maps (query × key) kept at a bounded size by max-pooling.
//
// A triangle holds one head's map with `bin` × `bin` tokens per cell. Cells without data are
// HeatmapData::kHole; a NaN wins over every number, so that it stays visible at any zoom.
#pragma once

#include <cstddef>
#include <span>

namespace layerscope::gui::view {

/// A square view into row-major storage.
struct Triangle {
  float* cells;
  std::size_t stride;  ///< floats from one row to the next
  int side;
};

/// max with holes as "nothing" and NaN as "greatest".
float pool_max(float a, float b);

/// Pools the values of query token `q` (one per `per_value` keys, in order; it divides `bin`) into
/// its row of cells. q / bin and (row.size() · per_value − 1) / bin must be below `side`.
void pool_row(const Triangle& map, int bin, int q, std::span<const float> row, int per_value = 1);

/// Halves the resolution in place: cell (r, c) becomes the maximum of the four that it covers.
void halve(const Triangle& map);

/// Sets rows [first, side) to holes.
void clear_rows(const Triangle& map, int first);

/// Finite range of `values` (holes left out) after cutting the fractions `low` and `high` off both
/// ends; sampled evenly where there are many. Both are 0 when nothing is finite.
struct Range {
  float lo = 0.0F;
  float hi = 0.0F;
  std::size_t non_finite = 0;  ///< NaN and ±Inf among the sampled
};
Range robust_range(std::span<const float> values, double low, double high);

}  // namespace layerscope::gui::view

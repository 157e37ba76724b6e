// Value map: a window into a matrix of any size at screen resolution. Pure arithmetic and pooling;
// `compute_map` runs on the tensor worker's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <vector>

#include "gui/view/heatmap.h"
#include "gui/view/tensor_source.h"

namespace layerscope::gui::view {

/// The visible part of a matrix, in cells; fractions while zooming and panning.
struct MapView {
  double row = 0.0, col = 0.0;    ///< upper left corner
  double rows = 0.0, cols = 0.0;  ///< extent; ≤ 0: nothing to see
  bool operator==(const MapView&) const = default;
};

/// Everything.
MapView fit_view(std::uint64_t rows, std::uint64_t cols);
/// Zooms by `factor` (> 1: closer) around the point at fractions (x, y) of the view. Never shows
/// less than a few cells or anything outside the matrix.
MapView zoom_view(const MapView& view, double factor, double x, double y, std::uint64_t rows,
                  std::uint64_t cols);
/// Moves the view by cells; stays inside.
MapView pan_view(const MapView& view, double rows, double cols, std::uint64_t n_rows,
                 std::uint64_t n_cols);

/// What one pixel says about the values that it covers.
enum class Pool : std::uint8_t {
  kLargest,    ///< the value with the largest magnitude; NaN before ±Inf before numbers
  kMean,       ///< the mean of the finite values
  kZeroFirst,  ///< an exact zero if there is one, else the largest
};

struct MapRequest {
  TensorSource::Ptr source;
  std::uint64_t row = 0, rows = 0, col = 0, cols = 0;  ///< whole cells
  int width = 0, height = 0;                           ///< at most that many pixels
  Pool pool = Pool::kLargest;
  bool operator==(const MapRequest&) const = default;
};

/// The request for a view at `width` × `height` pixels: whole cells, never more pixels than cells.
MapRequest map_request(TensorSource::Ptr source, const MapView& view, int width, int height,
                       Pool pool);

struct ValueMap {
  MapRequest request;
  int width = 0, height = 0;
  std::vector<float> values;  ///< [height][width]
  std::uint64_t version = 0;  ///< raised with every publication
  double progress = 0.0;      ///< 1: every value has been looked at
  std::string error;
};

/// The pixel's first and last covered cell along one axis of `n` cells on `pixels` pixels.
struct Covered {
  std::uint64_t first = 0, last = 0;
};
Covered covered(std::uint64_t n, int pixels, int pixel);

/// Fills `map`. A first pass takes one row for each line of pixels, so that something stands there
/// at once; the second looks at every value. `publish` is called after the first and about every
/// 60 ms. `interrupted` (asked every few milliseconds) ends it early; true when it ran to the end.
bool compute_map(const MapRequest& request, ValueMap& map,
                 const std::function<void(const ValueMap&)>& publish,
                 const std::function<bool()>& interrupted);

/// One value into a pooled pixel. `n` values were taken before.
float pool_value(Pool pool, float so_far, float value, std::uint64_t n);

}  // namespace layerscope::gui::view

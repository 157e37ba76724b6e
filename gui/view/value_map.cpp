#include "gui/view/value_map.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace layerscope::gui::view {
namespace {

using Clock = std::chrono::steady_clock;

/// Values decoded between two looks at the clock: about 2 ms.
constexpr std::uint64_t kPiece = 1U << 19U;
constexpr double kFewestCells = 4.0;

double kept_inside(double at, double extent, double n) {
  return std::clamp(at, 0.0, std::max(0.0, n - extent));
}

/// 2: NaN, 1: infinite, 0: a number.
int strangeness(float v) { return std::isnan(v) ? 2 : std::isinf(v) ? 1 : 0; }

float larger(float a, float b) {
  const int sa = strangeness(a);
  const int sb = strangeness(b);
  if (sa != sb) {
    return sa > sb ? a : b;
  }
  return std::fabs(b) > std::fabs(a) ? b : a;
}

/// Reads whole lines of the request's columns, several at a time where they are contiguous.
class Lines {
 public:
  explicit Lines(const MapRequest& request) : request_(request) {
    const bool whole = request.cols == request.source->cols;
    at_once_ =
        whole ? std::max<std::uint64_t>(1, kPiece / std::max<std::uint64_t>(1, request.cols)) : 1;
  }
  /// Calls `take(line, values)` for lines [first, last) of the request.
  template <typename Take>
  Status read(std::uint64_t first, std::uint64_t last, Take take) const {
    for (std::uint64_t line = first; line < last;) {
      const std::uint64_t n = std::min(at_once_, last - line);
      const std::uint64_t begin = (request_.row + line) * request_.source->cols + request_.col;
      LS_TRY(const std::vector<float> values, request_.source->read(begin, n * request_.cols));
      for (std::uint64_t i = 0; i < n; ++i) {
        take(line + i, values.data() + i * request_.cols);
      }
      line += n;
    }
    return {};
  }
  [[nodiscard]] std::uint64_t at_once() const { return at_once_; }

 private:
  const MapRequest& request_;
  std::uint64_t at_once_ = 1;
};

class Painter {
 public:
  Painter(const MapRequest& request, ValueMap& map) : request_(request), map_(map) {
    const auto pixels = static_cast<std::size_t>(map.width) * static_cast<std::size_t>(map.height);
    taken_.assign(pixels, 0);
    // Where each pixel's columns begin; the last entry is the end.
    for (int x = 0; x < map.width; ++x) {
      first_col_.push_back(covered(request.cols, map.width, x).first);
    }
    first_col_.push_back(request.cols);
  }
  void start_over() { std::fill(taken_.begin(), taken_.end(), 0); }

  void line(std::uint64_t line, const float* values) {
    const auto y =
        static_cast<std::size_t>(line * static_cast<std::uint64_t>(map_.height) / request_.rows);
    const auto width = static_cast<std::size_t>(map_.width);
    float* out = map_.values.data() + y * width;
    std::uint32_t* taken = taken_.data() + y * width;
    for (std::size_t x = 0; x < width; ++x) {
      float so_far = out[x];
      std::uint64_t n = taken[x];
      for (std::uint64_t i = first_col_[x]; i < first_col_[x + 1]; ++i, ++n) {
        so_far = pool_value(request_.pool, so_far, values[i], n);
      }
      out[x] = so_far;
      taken[x] = static_cast<std::uint32_t>(n);
    }
  }

 private:
  const MapRequest& request_;
  ValueMap& map_;
  std::vector<std::uint32_t> taken_;
  std::vector<std::uint64_t> first_col_;
};

}  // namespace

MapView fit_view(std::uint64_t rows, std::uint64_t cols) {
  return {0.0, 0.0, static_cast<double>(rows), static_cast<double>(cols)};
}

MapView zoom_view(const MapView& view, double factor, double x, double y, std::uint64_t rows,
                  std::uint64_t cols) {
  const auto n_rows = static_cast<double>(rows);
  const auto n_cols = static_cast<double>(cols);
  const double f = std::max(factor, 1e-6);
  MapView to;
  to.rows = std::clamp(view.rows / f, std::min(kFewestCells, n_rows), n_rows);
  to.cols = std::clamp(view.cols / f, std::min(kFewestCells, n_cols), n_cols);
  to.row = kept_inside(view.row + (view.rows - to.rows) * y, to.rows, n_rows);
  to.col = kept_inside(view.col + (view.cols - to.cols) * x, to.cols, n_cols);
  return to;
}

MapView pan_view(const MapView& view, double rows, double cols, std::uint64_t n_rows,
                 std::uint64_t n_cols) {
  MapView to = view;
  to.row = kept_inside(view.row + rows, view.rows, static_cast<double>(n_rows));
  to.col = kept_inside(view.col + cols, view.cols, static_cast<double>(n_cols));
  return to;
}

MapRequest map_request(TensorSource::Ptr source, const MapView& view, int width, int height,
                       Pool pool) {
  MapRequest request;
  const auto cells = [](double from, double extent, std::uint64_t n) {
    const auto first = static_cast<std::uint64_t>(std::max(0.0, std::floor(from)));
    const auto last = static_cast<std::uint64_t>(std::max(0.0, std::ceil(from + extent)));
    return std::pair{std::min(first, n), std::min(std::max(last, first), n)};
  };
  const auto [row, row_end] = cells(view.row, view.rows, source->rows);
  const auto [col, col_end] = cells(view.col, view.cols, source->cols);
  request.row = row;
  request.rows = row_end - row;
  request.col = col;
  request.cols = col_end - col;
  request.width = static_cast<int>(
      std::min<std::uint64_t>(request.cols, static_cast<std::uint64_t>(std::max(width, 1))));
  request.height = static_cast<int>(
      std::min<std::uint64_t>(request.rows, static_cast<std::uint64_t>(std::max(height, 1))));
  request.pool = pool;
  request.source = std::move(source);
  return request;
}

Covered covered(std::uint64_t n, int pixels, int pixel) {
  const auto p = static_cast<std::uint64_t>(std::max(pixels, 1));
  const auto at = static_cast<std::uint64_t>(std::max(pixel, 0));
  // The smallest i with i · p / n == at, and the last of them.
  const std::uint64_t first = (at * n + p - 1) / p;
  const std::uint64_t end = ((at + 1) * n + p - 1) / p;
  return {first, end > first ? end - 1 : first};
}

float pool_value(Pool pool, float so_far, float value, std::uint64_t n) {
  if (n == 0) {
    return value;
  }
  switch (pool) {
    case Pool::kLargest:
      return larger(so_far, value);
    case Pool::kMean:
      if (!std::isfinite(value)) {
        return so_far;
      }
      return std::isfinite(so_far) ? so_far + (value - so_far) / static_cast<float>(n + 1) : value;
    case Pool::kZeroFirst:
      return so_far == 0.0F || value == 0.0F ? 0.0F : larger(so_far, value);
  }
  return so_far;
}

bool compute_map(const MapRequest& request, ValueMap& map,
                 const std::function<void(const ValueMap&)>& publish,
                 const std::function<bool()>& interrupted) {
  map.request = request;
  map.width = request.width;
  map.height = request.height;
  map.progress = 0.0;
  map.values.assign(static_cast<std::size_t>(map.width) * static_cast<std::size_t>(map.height),
                    HeatmapData::kHole);
  const auto give_up = [&](const Status& status) {
    map.error = status.error().message;
    map.progress = 1.0;
    publish(map);
    return true;
  };
  if (map.values.empty()) {
    map.progress = 1.0;
    publish(map);
    return true;
  }
  const Lines lines(request);
  Painter painter(request, map);
  const auto paint = [&painter](std::uint64_t line, const float* values) {
    painter.line(line, values);
  };
  if (request.rows > 4 * static_cast<std::uint64_t>(map.height)) {
    for (int y = 0; y < map.height; ++y) {
      if (interrupted()) {
        return false;
      }
      const std::uint64_t line = covered(request.rows, map.height, y).first;
      if (const Status status = lines.read(line, line + 1, paint); !status.ok()) {
        return give_up(status);
      }
    }
    publish(map);
    painter.start_over();
  }
  // The sample of the first pass stays until a line of pixels is reached.
  auto published = Clock::now();
  for (std::uint64_t line = 0; line < request.rows; line += lines.at_once()) {
    if (interrupted()) {
      return false;
    }
    const std::uint64_t end = std::min(request.rows, line + lines.at_once());
    if (const Status status = lines.read(line, end, paint); !status.ok()) {
      return give_up(status);
    }
    map.progress = static_cast<double>(end) / static_cast<double>(request.rows);
    if (Clock::now() - published > std::chrono::milliseconds(60)) {
      publish(map);
      published = Clock::now();
    }
  }
  map.progress = 1.0;
  publish(map);
  return true;
}

}  // namespace layerscope::gui::view

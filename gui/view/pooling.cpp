#include "gui/view/pooling.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

float pool_max(float a, float b) {
  if (a == HeatmapData::kHole || std::isnan(b)) {
    return b;
  }
  if (b == HeatmapData::kHole || std::isnan(a)) {
    return a;
  }
  return std::max(a, b);
}

void pool_row(const Triangle& map, int bin, int q, std::span<const float> row, int per_value) {
  const auto width = static_cast<std::size_t>(bin / per_value);
  float* cells = map.cells + static_cast<std::size_t>(q / bin) * map.stride;
  for (std::size_t k = 0, c = 0; k < row.size(); k += width, ++c) {
    const std::size_t end = std::min(row.size(), k + width);
    float best = cells[c];
    for (std::size_t i = k; i < end; ++i) {
      best = pool_max(best, row[i]);
    }
    cells[c] = best;
  }
}

void halve(const Triangle& map) {
  const int half = map.side / 2;
  const auto at = [&map](int r, int c) -> float& {
    return map.cells[static_cast<std::size_t>(r) * map.stride + static_cast<std::size_t>(c)];
  };
  for (int r = 0; r < half; ++r) {
    for (int c = 0; c < half; ++c) {
      at(r, c) = pool_max(pool_max(at(2 * r, 2 * c), at(2 * r, 2 * c + 1)),
                          pool_max(at(2 * r + 1, 2 * c), at(2 * r + 1, 2 * c + 1)));
    }
    std::fill(&at(r, half), &at(r, half) + (map.side - half), HeatmapData::kHole);
  }
  clear_rows(map, half);
}

void clear_rows(const Triangle& map, int first) {
  for (int r = std::max(first, 0); r < map.side; ++r) {
    float* row = map.cells + static_cast<std::size_t>(r) * map.stride;
    std::fill(row, row + map.side, HeatmapData::kHole);
  }
}

Range robust_range(std::span<const float> values, double low, double high) {
  constexpr std::size_t kSamples = 32768;
  const std::size_t step = std::max<std::size_t>(1, values.size() / kSamples);
  std::vector<float> finite;
  finite.reserve(values.size() / step + 1);
  Range range;
  for (std::size_t i = 0; i < values.size(); i += step) {
    if (values[i] == HeatmapData::kHole) {
      continue;
    }
    if (std::isfinite(values[i])) {
      finite.push_back(values[i]);
    } else {
      ++range.non_finite;
    }
  }
  if (finite.empty()) {
    return range;
  }
  const auto pick = [&finite](double fraction) {
    const double index = fraction * static_cast<double>(finite.size() - 1);
    const auto at = finite.begin() + static_cast<std::ptrdiff_t>(std::lround(index));
    std::nth_element(finite.begin(), at, finite.end());
    return *at;
  };
  range.lo = pick(std::clamp(low, 0.0, 1.0));
  range.hi = pick(std::clamp(1.0 - high, 0.0, 1.0));
  return range;
}

}  // namespace layerscope::gui::view

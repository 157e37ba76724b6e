#include "gui/view/chart.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/backend/draw.h"

namespace layerscope::gui::view {
namespace {

/// FNV-1a over the values' bits.
std::uint64_t hash_of(std::span<const float> values) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const float value : values) {
    hash = (hash ^ std::bit_cast<std::uint32_t>(value)) * 0x100000001B3U;
  }
  return hash;
}

/// As backend::draw_stats_on_host pools a series.
void add(float value, float& lo, float& hi) {
  if (value == HeatmapData::kHole) {
    return;
  }
  if (!std::isfinite(value)) {
    if (lo == HeatmapData::kHole) {
      lo = hi = value;
    }
    return;
  }
  const bool first = lo == HeatmapData::kHole || !std::isfinite(lo);
  lo = first ? value : std::min(lo, value);
  hi = first ? value : std::max(hi, value);
}

}  // namespace

ChartSource chart_values(std::span<const float> values, int rows) {
  ChartSource source;
  source.values = values;
  source.lines = rows;
  source.cells = static_cast<int>(values.size()) / std::max(rows, 1);
  source.version = hash_of(values);
  return source;
}

ChartSource chart_rows(std::span<const std::vector<float>* const> lines, std::vector<float>& rows) {
  ChartSource source;
  std::size_t longest = 0;
  for (const auto* line : lines) {
    longest = std::max(longest, line->size());
  }
  const backend::Binning binning = backend::series_cells(static_cast<int>(longest));
  const auto cells = static_cast<std::size_t>(binning.cells);
  const auto bin = static_cast<std::size_t>(binning.bin);
  source.lines = static_cast<int>(lines.size());
  source.cells = binning.cells;
  source.pooled = bin > 1;
  source.ranges = source.pooled;
  rows.assign(lines.size() * cells * (source.ranges ? 2 : 1), HeatmapData::kHole);
  float* to = rows.data();
  for (const auto* line : lines) {
    if (!source.pooled) {
      std::copy(line->begin(), line->end(), to);
      to += cells;
      continue;
    }
    for (std::size_t i = 0; i < line->size(); ++i) {
      add((*line)[i], to[i / bin], to[cells + i / bin]);
    }
    to += 2 * cells;
  }
  source.values = rows;
  source.version = hash_of(rows);
  return source;
}

}  // namespace layerscope::gui::view

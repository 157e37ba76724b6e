#include "gui/view/drawn.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "gui/view/frames.h"

namespace layerscope::gui::view {
namespace {

constexpr int kLeastZoom = 8;    ///< tokens in each direction
constexpr int kMostRows = 4096;  ///< whose statistics are looked at for a range

/// `n` tokens around `middle` inside [0, all).
int first_around(int middle, int n, int all) {
  return std::clamp(middle - n / 2, 0, std::max(all - n, 0));
}

backend::MapView part_of(const backend::MapRect& rect, int first_query, int first_key, int n,
                         int n_tokens) {
  backend::MapView view;
  view.layer = rect.layer;
  view.head = rect.head;
  view.scores = rect.scores;
  if (n < n_tokens) {
    view.first_query = first_query;
    view.first_key = first_key;
    view.n_queries = n;
    view.n_keys = n;
  }
  return view;
}

}  // namespace

HeatmapData Drawn::cells(const backend::DrawGrid& grid) const {
  HeatmapData data;
  data.width = grid.width;
  data.height = grid.height;
  data.version = value;
  if (slot >= 0) {
    data.device = {slot, grid.offset, value};
  } else if (host != nullptr) {
    data.values = std::span(host + grid.offset, grid.floats());
  }
  return data;
}

ChartSource Drawn::lines(const backend::DrawGrid& grid, int first, int n, bool ranges,
                         bool pooled) const {
  ChartSource source;
  source.lines = n;
  source.cells = grid.width;
  source.ranges = ranges;
  source.pooled = pooled;
  source.version = value;
  const auto width = static_cast<std::size_t>(grid.width);
  const std::size_t offset = grid.offset + static_cast<std::size_t>(first) * width;
  if (slot >= 0) {
    source.device = {slot, offset, value};
  } else if (host != nullptr) {
    source.values = std::span(host + offset, static_cast<std::size_t>(ranges ? 2 * n : n) * width);
  }
  return source;
}

const backend::DrawnStats* drawn_stats(const Drawn* drawn, const session::Snapshot& snapshot) {
  const bool present = drawn != nullptr && (snapshot.draws || is_complete(*drawn, snapshot));
  return present ? &drawn->frame.stats : nullptr;
}

int drawn_position(const Drawn& drawn, int wanted) {
  const int there = drawn.frame.stats.look.position;
  return there == (wanted < 0 ? drawn.frame.n_tokens - 1 : wanted) ? there : -1;
}

bool shows(const Drawn& drawn, const session::Snapshot& snapshot) {
  const capture::TokenFrame* last = snapshot.frame(drawn.frame.n_tokens - 1);
  return drawn.frame.tag.session_serial == snapshot.session_serial && last != nullptr &&
         last->serial == drawn.frame.tag.last_serial;
}

bool is_complete(const Drawn& drawn, const session::Snapshot& snapshot) {
  return drawn.frame.n_tokens == snapshot.n_frames && shows(drawn, snapshot);
}

ColorRange drawn_range(const session::Snapshot& snapshot, const backend::MapRect& rect,
                       bool log_scale) {
  ColorRange range;
  std::vector<float> most;
  float lowest = 0.0F;
  float highest = 0.0F;
  const int step = rect.n_queries / kMostRows + 1;
  for (int q = rect.first_query; q < rect.first_query + rect.n_queries; q += step) {
    const capture::HeadStats* stats = head_stats(snapshot.frame(q), rect.layer, rect.head);
    if (stats == nullptr) {
      continue;
    }
    const float top = std::log(stats->max) + stats->lse;
    if (!std::isfinite(stats->row_sum) || !std::isfinite(top)) {
      ++range.non_finite;
      continue;
    }
    // log Σ exp(score) − log n is at least the mean of the scores.
    const float mean = stats->lse - std::log(static_cast<float>(q + 1));
    lowest = most.empty() ? mean : std::min(lowest, mean);
    highest = most.empty() ? top : std::max(highest, top);
    most.push_back(stats->max);
  }
  if (rect.scores) {
    range.lo = lowest;
    range.hi = highest > lowest ? highest : lowest + 1.0F;
    return range;
  }
  if (!most.empty()) {
    const auto at = most.begin() + static_cast<std::ptrdiff_t>((most.size() - 1) * 98 / 100);
    std::nth_element(most.begin(), at, most.end());
    range.hi = *at > 0.0F ? *at : 1.0F;
  }
  range.log_scale = log_scale;
  range.lo = log_scale ? std::max(range.hi * 1e-4F, 1e-9F) : 0.0F;
  return range;
}

std::optional<float> exact_value(const session::Snapshot& snapshot, int layer, int head, int query,
                                 int key) {
  if (query < 0 || key < 0 || key > query) {
    return std::nullopt;
  }
  const auto row = attention_row(snapshot, query, layer, head);
  if (static_cast<std::size_t>(key) < row.size()) {
    return row[static_cast<std::size_t>(key)];
  }
  for (const auto& part : snapshot.attention_values) {
    if (part == nullptr || !part->error.empty() || part->layer != layer || part->head != head ||
        query < part->first_query || query >= part->first_query + part->n_queries ||
        key < part->first_key || key >= part->first_key + part->n_keys) {
      continue;
    }
    const capture::TokenFrame* last = snapshot.frame(part->first_query + part->n_queries - 1);
    if (last != nullptr && last->serial == part->last_serial) {
      return part->values[static_cast<std::size_t>(query - part->first_query) *
                              static_cast<std::size_t>(part->n_keys) +
                          static_cast<std::size_t>(key - part->first_key)];
    }
  }
  return std::nullopt;
}

session::InspectAttention pairs_of_cell(const backend::MapRect& rect, int row, int column,
                                        int n_tokens) {
  session::InspectAttention pairs;
  pairs.use = 1;
  pairs.layer = rect.layer;
  pairs.head = rect.head;
  pairs.first_query = rect.first_query + row * rect.bin;
  pairs.first_key = rect.first_key + column * rect.bin;
  pairs.n_queries = std::min(rect.bin, n_tokens - pairs.first_query);
  pairs.n_keys = std::min(rect.bin, n_tokens - pairs.first_key);
  return pairs;
}

backend::MapView zoomed(const backend::MapRect& rect, int query, int key, bool closer,
                        int n_tokens) {
  const int now = std::max(rect.n_queries, rect.n_keys);
  const int n = closer ? std::max(now / 2, std::min(kLeastZoom, now)) : now * 2;
  return part_of(rect, first_around(query, n, n_tokens), first_around(key, n, n_tokens), n,
                 n_tokens);
}

backend::MapView moved(const backend::MapRect& rect, int queries, int keys, int n_tokens) {
  const int n = std::max(rect.n_queries, rect.n_keys);
  const int most = std::max(n_tokens - n, 0);
  return part_of(rect, std::clamp(rect.first_query + queries, 0, most),
                 std::clamp(rect.first_key + keys, 0, most), n, n_tokens);
}

}  // namespace layerscope::gui::view

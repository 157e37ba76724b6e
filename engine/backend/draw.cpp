#include "engine/backend/draw.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/size.h"

namespace layerscope::backend {
namespace {

int power_of_two(int least, int n) {
  int value = least;
  while (value < n) {
    value *= 2;
  }
  return value;
}

/// Where the next grid starts: storage buffers are read from multiples of 64 floats.
std::size_t aligned(std::size_t floats) { return (floats + 63) / 64 * 64; }

}  // namespace

std::optional<MapRect> resolve(const MapView& view, int n_tokens) {
  if (view.layer < 0 || view.head < 0 || view.first_query < 0 || view.first_key < 0) {
    return std::nullopt;
  }
  MapRect rect;
  rect.layer = view.layer;
  rect.head = view.head;
  rect.scores = view.scores;
  rect.first_query = view.first_query;
  rect.first_key = view.first_key;
  const auto count = [n_tokens](int first, int n) {
    return n <= 0 ? n_tokens - first : std::min(n, n_tokens - first);
  };
  rect.n_queries = count(view.first_query, view.n_queries);
  rect.n_keys = count(view.first_key, view.n_keys);
  if (rect.n_queries <= 0 || rect.n_keys <= 0) {
    return std::nullopt;
  }
  const int longest = std::max(rect.n_queries, rect.n_keys);
  while (longest > rect.bin * kMostMapSide) {
    rect.bin *= 2;
  }
  rect.side = power_of_two(kLeastMapSide, std::max(rect.rows(), rect.columns()));
  return rect;
}

std::size_t DrawnFrame::floats() const {
  std::size_t end = 0;
  for (const DrawGrid* grid :
       {&thumbnails, &map, &row, &stats.map, &stats.profile, &stats.bars, &stats.series}) {
    end = grid->empty() ? end : std::max(end, grid->offset + grid->floats());
  }
  return end;
}

Result<DrawnFrame> lay_out(const DrawRequest& request, int n_tokens, const DrawShape& shape,
                           std::size_t room) {
  const int n_layers = shape.n_layers;
  const int n_heads = shape.n_heads;
  DrawnFrame frame;
  frame.ticket = request.ticket;
  frame.n_tokens = n_tokens;
  std::size_t end = 0;
  const auto place = [&end](DrawGrid& grid, int width, int height) {
    grid.offset = end;
    grid.width = width;
    grid.height = height;
    end = aligned(end + grid.floats());
  };
  if (request.thumbnails && shape.atlas_side > 0 && n_tokens > 0) {
    frame.side = shape.atlas_side;
    while (n_tokens > frame.side * frame.bin) {
      frame.bin *= 2;
    }
    place(frame.thumbnails, n_heads * shape.atlas_side, n_layers * shape.atlas_side);
    frame.thumbnails.used_columns = frame.thumbnails.width;
    frame.thumbnails.used_rows = frame.thumbnails.height;
  }
  const auto inside = [&](int layer, int head) {
    return layer >= 0 && layer < n_layers && head >= 0 && head < n_heads;
  };
  if (const auto rect = resolve(request.map, n_tokens); rect && inside(rect->layer, rect->head)) {
    frame.rect = *rect;
    place(frame.map, rect->side, rect->side);
    frame.map.used_rows = rect->rows();
    frame.map.used_columns = rect->columns();
  }
  const int position = request.row_position < 0 ? n_tokens - 1 : request.row_position;
  if (inside(request.row_layer, request.row_head) && position >= 0 && position < n_tokens) {
    frame.row_layer = request.row_layer;
    frame.row_head = request.row_head;
    frame.row_position = position;
    const int lines = position / kRowWidth + 1;
    place(frame.row, kRowWidth, power_of_two(1, lines));
    frame.row.used_rows = lines;
    frame.row.used_columns = std::min(position + 1, kRowWidth);
  }
  frame.stats = lay_out_stats(request.stats, n_tokens, n_layers, shape.known, end);
  if (frame.floats() > room) {
    return device_error(
        fmt::format("a picture of {} floats does not fit the {} of a place", frame.floats(), room));
  }
  return frame;
}

void pool_into_map(const MapRect& rect, int first, int n, std::span<const float> rows,
                   std::size_t stride, std::span<float> cells) {
  for (int i = 0; i < n; ++i) {
    const int query = first + i;
    if (query < rect.first_query || query >= rect.first_query + rect.n_queries) {
      continue;
    }
    float* line = cells.data() + size((query - rect.first_query) / rect.bin) * size(rect.side);
    const int end = std::min(rect.first_key + rect.n_keys, query + 1);
    for (int key = rect.first_key; key < end; ++key) {
      const float value = rows[size(i) * stride + size(key)];
      float& cell = line[(key - rect.first_key) / rect.bin];
      if (std::isnan(value) || value > cell) {  // nothing is above a NaN
        cell = value;
      }
    }
  }
}

Status draw_on_host(const Backend& backend, const DrawnFrame& frame, const RowLse& lse, float* out,
                    const std::stop_token& stop) {
  if (!frame.map.empty()) {
    constexpr int kAtOnce = 32;
    const MapRect& rect = frame.rect;
    const std::span<float> cells(out + frame.map.offset, frame.map.floats());
    std::fill(cells.begin(), cells.end(), kDrawHole);
    const auto stride = size(rect.first_query + rect.n_queries);
    std::vector<float> rows(size(std::min(kAtOnce, rect.n_queries)) * stride);
    const int end = rect.first_query + rect.n_queries;
    for (int first = rect.first_query; first < end; first += kAtOnce) {
      const int n = std::min(kAtOnce, end - first);
      if (!backend.attention_rows(rect.layer, rect.head, first, n, rows, stride, stop)) {
        return cancelled_error();
      }
      for (int i = 0; i < n && rect.scores; ++i) {
        const float shift = lse(rect.layer, rect.head, first + i);
        for (float& p : std::span(rows).subspan(size(i) * stride, size(first + i) + 1)) {
          // Zero has no finite score; without the row's statistics none is known.
          const bool unknown = p == 0.0F || (std::isnan(shift) && !std::isnan(p));
          p = unknown ? kDrawHole : std::log(p) + shift;
        }
      }
      pool_into_map(rect, first, n, rows, stride, cells);
    }
  }
  if (!frame.row.empty()) {
    float* line = out + frame.row.offset;
    std::fill_n(line, frame.row.floats(), kDrawHole);
    backend.attention_row(frame.row_layer, frame.row_head, frame.row_position,
                          std::span(line, size(frame.row_position) + 1));
  }
  return {};
}

Result<bool> Backend::draw(const DrawJob& job, DrawSink& sink, const std::stop_token& stop) {
  const DrawRequest& request = job.request;
  if (sink.device() >= 0) {
    return usage_error(name() + " computes in host memory and cannot draw into a GPU's");
  }
  const auto place = sink.acquire();
  if (!place) {
    return false;
  }
  DrawShape shape;
  if (const capture::TokenFrame* first = job.frame ? job.frame(0) : nullptr; first != nullptr) {
    shape.n_layers = first->n_layers;
    shape.n_heads = first->n_heads;
  }
  Result<DrawnFrame> frame = lay_out(request, kv_len(), shape, place->floats);
  Status status;
  if (frame.ok()) {
    frame.value().tag = job.tag;
    status = draw_on_host(*this, frame.value(), job.lse, place->data, stop);
    draw_stats_on_host(frame.value().stats, kv_len(), job.frame, place->data);
  } else {
    status = frame.error();
  }
  if (!status.ok()) {
    sink.abandon(*place);
    return status.error();
  }
  LS_CHECK(sink.publish(*place, nullptr, frame.value()));
  return true;
}

}  // namespace layerscope::backend

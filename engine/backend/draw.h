// What the window draws from the engine, and where it is put.
//
// A DrawRequest says what is looked at. A backend writes it as float32 cells into a place of a
// DrawSink: memory that the window's device reads without a copy (gui/interop), or host memory. The
// engine knows only a pointer and "publish after what this stream does". Nothing here waits for the
// window: without a free place the picture is dropped and counted.
//
// DrawRequest and DrawnFrame are plain data. A DrawSink is written by the worker and read by the
// window; its functions say which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>

#include "engine/backend/draw_grid.h"
#include "engine/backend/draw_stats.h"
#include "engine/base/result.h"

namespace layerscope::backend {

/// Cells on a side of a map, at most; a multiple of everything that a map is enlarged by.
inline constexpr int kMostMapSide = 1024;
inline constexpr int kLeastMapSide = 64;
/// Cells in a line of the shown row's grid.
inline constexpr int kRowWidth = 256;
/// Floats of a place: the atlas of thumbnails (4,096 heads of 32²), a map, and a row of a million
/// tokens fit.
inline constexpr std::size_t kDrawFloats = std::size_t{8} << 20U;

/// The part of one head's map that is looked at.
struct MapView {
  int layer = -1, head = -1;  ///< −1: no map
  int first_query = 0;
  int n_queries = 0;  ///< 0: up to the newest
  int first_key = 0;
  int n_keys = 0;       ///< 0: up to the newest
  bool scores = false;  ///< scaled scores instead of probabilities
  bool operator==(const MapView&) const = default;
};

/// What is wanted; a newer one replaces it.
struct DrawRequest {
  std::uint64_t ticket = 0;  ///< raised by the window with every picture that it could show
  bool thumbnails = false;   ///< maps of all heads, in an atlas
  MapView map;
  int row_layer = -1, row_head = -1;  ///< −1: no row
  int row_position = -1;              ///< −1: the newest
  StatsLook stats;
};

/// A MapView with its ends known: cells [⌈n_queries / bin⌉][⌈n_keys / bin⌉], each the largest value
/// of bin × bin pairs.
struct MapRect {
  int layer = -1, head = -1;
  int first_query = 0, n_queries = 0, first_key = 0, n_keys = 0;
  int bin = 1;   ///< a power of two
  int side = 0;  ///< of the square grid that holds it: a power of two
  bool scores = false;
  [[nodiscard]] int rows() const { return (n_queries + bin - 1) / bin; }
  [[nodiscard]] int columns() const { return (n_keys + bin - 1) / bin; }
  bool operator==(const MapRect&) const = default;
};
/// None when there is nothing to see: no head chosen, or the part lies behind the last token.
std::optional<MapRect> resolve(const MapView& view, int n_tokens);

/// Which tokens a picture shows, so that the window never draws it over others.
struct DrawTag {
  std::uint64_t session_serial = 0;  ///< of the snapshot
  std::uint64_t last_serial = 0;     ///< of the newest frame
};

/// Log Σ exp(score) of the row of (layer, head, query) as captured: on the host a score is
/// ln(probability) + it.
using RowLse = std::function<float(int, int, int)>;

/// What Backend::draw gets.
struct DrawJob {
  DrawRequest request;
  DrawTag tag;
  RowLse lse;
  FrameAt frame;  ///< what was captured of a position
};

/// What a place holds.
struct DrawnFrame {
  std::uint64_t ticket = 0;
  DrawTag tag;
  int n_tokens = 0;  ///< positions that it covers
  /// Roots of the largest probabilities; side() cells a head, `bin` tokens a cell.
  DrawGrid thumbnails;
  int side = 0, bin = 1;
  DrawGrid map;
  MapRect rect;
  /// Probabilities of one query, kRowWidth keys a line.
  DrawGrid row;
  int row_layer = -1, row_head = -1, row_position = -1;
  DrawnStats stats;
  [[nodiscard]] std::size_t floats() const;
};

/// What can be drawn of a model.
struct DrawShape {
  int n_layers = 0, n_heads = 0;
  int atlas_side = 0;  ///< of a thumbnail; 0: there are none
  KnownStats known;
};
/// Lays out what `request` wants of `n_tokens` positions. Error (kDevice): it does not fit into
/// `room` floats.
Result<DrawnFrame> lay_out(const DrawRequest& request, int n_tokens, const DrawShape& shape,
                           std::size_t room);

/// Since the beginning.
struct DrawCost {
  std::uint64_t pictures = 0;  ///< whose time is known
  double gpu_ms = 0.0;         ///< from each one's first kernel to its last, other work included
};

class DrawSink {
 public:
  struct Place {
    int slot = -1;
    float* data = nullptr;
    std::size_t floats = 0;
    bool kept = false;  ///< it still holds what was published there last
  };
  DrawSink() = default;
  virtual ~DrawSink() = default;
  DrawSink(const DrawSink&) = delete;
  DrawSink& operator=(const DrawSink&) = delete;

  /// CUDA's index of the device whose memory the places are in; −1: host memory.
  [[nodiscard]] virtual int device() const = 0;
  /// Worker: a free place; none: the window still reads them all, which is counted.
  virtual std::optional<Place> acquire() = 0;
  /// Worker: the window may draw from `place` when `stream` (a cudaStream_t) has done what it was
  /// given; null: at once. Error (kDevice): the signal was refused; the place is free again.
  virtual Status publish(const Place& place, void* stream, const DrawnFrame& frame) = 0;
  /// Worker: gives the place back unwritten.
  virtual void abandon(const Place& place) = 0;
  /// Any thread: pictures for which there was no place.
  [[nodiscard]] virtual std::uint64_t dropped() const = 0;
};

class Backend;
/// Map and row recomputed by `backend` into host memory [frame.floats()]: plain loops, the oracle
/// of faster ones. Error (kCancelled): `stop`.
Status draw_on_host(const Backend& backend, const DrawnFrame& frame, const RowLse& lse, float* out,
                    const std::stop_token& stop);

/// Largest value of each cell of rows already recomputed: queries [first, first + n) of `rect`'s
/// head, rows[i · stride + key] with keys [0, query]. Starts from what `cells` [side][side] holds;
/// NaN wins over every number.
void pool_into_map(const MapRect& rect, int first, int n, std::span<const float> rows,
                   std::size_t stride, std::span<float> cells);

}  // namespace layerscope::backend

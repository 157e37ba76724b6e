// What a cell of a statistics picture shows, and what is kept of a position: functions of one
// thread. They compile for the host too, where a test compares them with the frames.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cuda/attention_map.h"
#include "kernels/cuda/stats_picture.h"

#ifdef __CUDACC__
#define LS_BOTH __host__ __device__ inline
#else
#define LS_BOTH inline
#endif

namespace layerscope::kernels::cuda {

LS_BOTH std::uint32_t float_bits(float v) {
  std::uint32_t bits = 0;
  memcpy(&bits, &v, sizeof(bits));
  return bits;
}
LS_BOTH float float_of(std::uint32_t bits) {
  float v = 0.0F;
  memcpy(&v, &bits, sizeof(v));
  return v;
}
inline constexpr std::uint32_t kUnknownBits = 0xFFFFFFFFU;
inline constexpr std::uint32_t kNanBits = 0x7FC00000U;
// By bits: they hold whatever the compiler assumes about NaN.
LS_BOTH bool is_nan(float v) { return (float_bits(v) & 0x7FFFFFFFU) > 0x7F800000U; }
LS_BOTH bool is_finite(float v) { return (float_bits(v) & 0x7FFFFFFFU) < 0x7F800000U; }

LS_BOTH std::size_t plane_at(const StatsHistory& h, int plane, int position) {
  return static_cast<std::size_t>(plane) * static_cast<std::size_t>(h.context) +
         static_cast<std::size_t>(position);
}

/// One column of a position.
LS_BOTH void keep_column(const StatsHistory& h, int column, int position, const FinishedStats& s) {
  const float odd = float_of(s.count == 0 ? kUnknownBits : kNanBits);
  const bool number = s.count > 0 && s.non_finite == 0;
  h.planes[plane_at(h, column, position)] = number ? s.l2 : odd;
  h.planes[plane_at(h, h.columns + column, position)] = number ? s.absmax : odd;
}

/// One ranked token of a position, `rank` in [0, kTopLogits); that of rank 0 writes the series as
/// well. Formulas as CudaBackend::finish_summary.
LS_BOTH void keep_rank(const StatsHistory& h, const RawLogitSummary& s, int position, int rank) {
  const std::size_t at =
      static_cast<std::size_t>(position) * kTopLogits + static_cast<std::size_t>(rank);
  if (rank < s.n_top && s.n_usable > 0) {
    const double lse = static_cast<double>(s.max) + log(s.exp_sum);
    const float largest = static_cast<float>(exp(static_cast<double>(s.logits[0]) - lse));
    const float prob = static_cast<float>(exp(static_cast<double>(s.logits[rank]) - lse));
    const float length = largest > 0.0F ? prob / largest : 0.0F;
    h.lengths[at] = length > 0.0F ? (length < 1.0F ? length : 1.0F) : 0.0F;
    h.ids[at] = s.ids[rank];
  } else {
    h.lengths[at] = float_of(kUnknownBits);
    h.ids[at] = -1;
  }
  if (rank == 0) {
    const bool any = s.n_usable > 0;
    const float entropy =
        any ? static_cast<float>((log(s.exp_sum) - s.exp_weighted / s.exp_sum) / log(2.0)) : 0.0F;
    const float mean = any ? static_cast<float>(s.sum / s.n_usable) : 0.0F;
    const int first = kStatPlanes * h.columns;
    h.planes[plane_at(h, first, position)] = entropy;
    h.planes[plane_at(h, first + 1, position)] = any ? s.min : 0.0F;
    h.planes[plane_at(h, first + 2, position)] = mean;
    h.planes[plane_at(h, first + 3, position)] = any ? s.max : 0.0F;
  }
}

/// Largest of values [begin, end) of a plane: NaN above all, holes below.
LS_BOTH float largest_of(const StatsHistory& h, int plane, int begin, int end) {
  float best = kMapHole;
  for (int position = begin; position < end; ++position) {
    const float v = h.planes[plane_at(h, plane, position)];
    if (float_bits(v) == kUnknownBits) {
      continue;
    }
    if (is_nan(v)) {
      return float_of(kNanBits);
    }
    best = v > best ? v : best;
  }
  return best;
}

/// Smallest or largest finite value of [begin, end) of a plane; the first of the others where there
/// are only such.
LS_BOTH float extreme_of(const StatsHistory& h, int plane, int begin, int end, bool largest) {
  float best = kMapHole;
  bool found = false;
  for (int position = begin; position < end; ++position) {
    const float v = h.planes[plane_at(h, plane, position)];
    if (is_finite(v)) {
      best = !found || (largest ? v > best : v < best) ? v : best;
      found = true;
    } else if (best == kMapHole && float_bits(v) != kUnknownBits) {
      best = v;
    }
  }
  return best;
}

LS_BOTH int least(int a, int b) { return a < b ? a : b; }

LS_BOTH float map_cell(const StatsPicture& p, int row, int column) {
  const int begin = column * p.map_bin;
  return largest_of(p.history, p.map_plane + row * p.map_step, begin,
                    least(begin + p.map_bin, p.n_tokens));
}
LS_BOTH float profile_cell(const StatsPicture& p, int line, int layer) {
  return largest_of(p.history, p.profile_planes[line] + layer * p.profile_step, p.position,
                    p.position + 1);
}
LS_BOTH float bar_cell(const StatsPicture& p, int row, int rank) {
  const std::size_t at =
      static_cast<std::size_t>(p.position) * kTopLogits + static_cast<std::size_t>(rank);
  if (float_bits(p.history.lengths[at]) == kUnknownBits) {
    return kMapHole;
  }
  if (row == 0) {
    return p.history.lengths[at];
  }
  return p.next != nullptr && *p.next == p.history.ids[at] ? 1.0F : 0.0F;
}
LS_BOTH float series_cell(const StatsPicture& p, int row, int cell) {
  const int begin = cell * p.series_bin;
  return extreme_of(p.history, kStatPlanes * p.history.columns + row / 2, begin,
                    least(begin + p.series_bin, p.n_tokens), row % 2 == 1);
}

/// Cells of all parts that are made, in the order map, profile, bars, series.
LS_BOTH int picture_cells(const StatsPicture& p) {
  return (p.map != nullptr ? p.map_rows * p.map_width : 0) +
         (p.profile != nullptr ? kProfileLines * p.n_layers : 0) +
         (p.bars != nullptr ? 2 * kTopLogits : 0) +
         (p.series != nullptr ? 2 * kSeriesPlanes * p.series_cells : 0);
}
/// Makes cell `i` of them.
LS_BOTH void make_cell(const StatsPicture& p, int i) {
  if (p.map != nullptr) {
    if (i < p.map_rows * p.map_width) {
      p.map[i] = map_cell(p, i / p.map_width, i % p.map_width);
      return;
    }
    i -= p.map_rows * p.map_width;
  }
  if (p.profile != nullptr) {
    if (i < kProfileLines * p.n_layers) {
      p.profile[i] = profile_cell(p, i / p.n_layers, i % p.n_layers);
      return;
    }
    i -= kProfileLines * p.n_layers;
  }
  if (p.bars != nullptr) {
    if (i < 2 * kTopLogits) {
      p.bars[i] = bar_cell(p, i / kTopLogits, i % kTopLogits);
      return;
    }
    i -= 2 * kTopLogits;
  }
  if (p.series != nullptr && i < 2 * kSeriesPlanes * p.series_cells) {
    p.series[i] = series_cell(p, i / p.series_cells, i % p.series_cells);
  }
}

}  // namespace layerscope::kernels::cuda

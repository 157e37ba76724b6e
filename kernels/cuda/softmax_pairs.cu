// Prefill: causal soft-max of score rows of up to kMaxPairKeys keys, a warp per row, with what the
// capture keeps; leaves the probabilities, or the F16 pairs that their product reads.
//
// A row stays in registers from the scores to the pairs: 4 keys per lane and turn, 16 bytes a load.
// Nothing is synchronised but the warp. Bytes for 32 heads × 512 queries × 512 keys: 34 MB read, 34
// MB written, mostly L2, and the seen half once more into the kept rows: 46 µs on an H200 (ncu),
// where the block-per-row kernel and a split of its own took 65 and 12.
#include "kernels/cuda/attention_pairs.h"
#include "kernels/cuda/head_row.cuh"
#include "kernels/cuda/pair.cuh"

namespace layerscope::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kMaxBins = 64;
constexpr int kFour = 4;  ///< keys of a lane in one turn
constexpr int kTurn = kFour * kWarp;

__device__ __forceinline__ unsigned bits_of(float p) { return __float_as_uint(p) & 0x7FFFFFFFU; }

/// Statistics of the finished row; lane 0 has all of them. p[i] are keys i · kTurn + 4 · lane …
template <int kTurns>
__device__ RawHeadStats summarise(const float (&p)[kTurns][kFour], int seen, float lse, int lane) {
  float sum = 0.0F;
  float plogp = 0.0F;
  float best = -1.0F;
  int best_at = 0;
  float last = 0.0F;
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
#pragma unroll
    for (int c = 0; c < kFour; ++c) {
      const int j = i * kTurn + kFour * lane + c;
      const float v = p[i][c];
      if (j < seen) {
        sum += v;
        plogp += v > 0.0F ? v * logf(v) : 0.0F;
        if (v > best) {
          best = v;
          best_at = j;
        }
        last = j + 1 == seen ? v : last;
      }
    }
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFU, best, step);
    const int other_at = __shfl_xor_sync(0xFFFFFFFFU, best_at, step);
    if (other > best || (other == best && other_at < best_at)) {
      best = other;
      best_at = other_at;
    }
  }
  RawHeadStats out;
  out.row_sum = warp_sum(sum);
  out.entropy = -warp_sum(plogp);
  out.max = best < 0.0F ? 0.0F : best;  // a row of NaN has no maximum
  out.argmax = best_at;
  out.first = p[0][0];
  out.self = __shfl_sync(0xFFFFFFFFU, last, (seen - 1) / kFour % kWarp);
  out.lse = lse;
  return out;
}

/// The largest probability of every `width` keys into cells, zero before.
template <int kTurns>
__device__ void pool(const float (&p)[kTurns][kFour], int seen, int width, unsigned* cells,
                     int lane) {
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int j = i * kTurn + kFour * lane;
    if (width >= kFour) {
      unsigned top = 0;
#pragma unroll
      for (int c = 0; c < kFour; ++c) {
        top = max(top, j + c < seen ? bits_of(p[i][c]) : 0U);
      }
      const int lanes = min(width / kFour, kWarp);  // that share a cell
      for (int step = 1; step < lanes; step *= 2) {
        top = max(top, __shfl_xor_sync(0xFFFFFFFFU, top, step));
      }
      if (lane % lanes == 0 && j < seen) {
        atomicMax(&cells[j / width], top);
      }
    } else {
#pragma unroll
      for (int c = 0; c < kFour; ++c) {
        if (j + c < seen) {
          atomicMax(&cells[(j + c) / width], bits_of(p[i][c]));
        }
      }
    }
  }
}

/// Two neighbouring lanes hold the 8 keys of a group: one takes the high parts, the other the low.
__device__ __forceinline__ uint4 pair_of(const float (&p)[kFour], int lane) {
  uint2 high;
  uint2 low;
  split_row(p, high, low);
  const bool even = lane % 2 == 0;
  const unsigned x = __shfl_xor_sync(0xFFFFFFFFU, even ? low.x : high.x, 1);
  const unsigned y = __shfl_xor_sync(0xFFFFFFFFU, even ? low.y : high.y, 1);
  return even ? uint4{high.x, high.y, x, y} : uint4{x, y, low.x, low.y};
}

template <int kTurns>
__global__ void __launch_bounds__(kThreads)
    softmax_pairs_kernel(float* scores, int n, int stride, int first, bool split,
                         const __grid_constant__ SoftmaxCapture capture) {
  __shared__ unsigned all_cells[kWarps][kMaxBins];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int t = static_cast<int>(blockIdx.x) * kWarps + warp;
  const int head = static_cast<int>(blockIdx.y);
  if (t >= n) {
    return;
  }
  float* const row = scores + (static_cast<std::size_t>(head) * n + t) * stride;
  const int seen = first + t + 1;
  const std::size_t index = static_cast<std::size_t>(capture.first_row) + head;
  const RowPlace place = capture.places != nullptr ? capture.places[t] : RowPlace{nullptr, 0};
  float* const kept = place.rows != nullptr ? place.rows + index * place.row_stride : nullptr;
  float p[kTurns][kFour];
  float top = -INFINITY;
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int j = i * kTurn + kFour * lane;
    float4 v{-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    if (j < seen) {
      v = *reinterpret_cast<const float4*>(row + j);
      if (kept != nullptr) {  // rows are filled up to 4 keys
        *reinterpret_cast<float4*>(kept + j) = v;
      }
    }
    const float values[kFour] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int c = 0; c < kFour; ++c) {
      p[i][c] = j + c < seen ? values[c] : -INFINITY;
      top = fmaxf(top, p[i][c]);
    }
  }
  top = warp_max(top);
  float total = 0.0F;
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
#pragma unroll
    for (int c = 0; c < kFour; ++c) {
      const int j = i * kTurn + kFour * lane + c;
      p[i][c] = j < seen ? expf(p[i][c] - top) : 0.0F;
      total += p[i][c];
    }
  }
  total = warp_sum(total);
  const float inverse = 1.0F / total;
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int j = i * kTurn + kFour * lane;
#pragma unroll
    for (int c = 0; c < kFour; ++c) {
      p[i][c] = j + c < seen ? p[i][c] * inverse : 0.0F;
    }
    if (split) {
      const uint4 pair = pair_of(p[i], lane);
      if (j < stride) {
        *reinterpret_cast<uint4*>(row + j) = pair;
      }
    } else if (j < stride) {
      *reinterpret_cast<float4*>(row + j) = {p[i][0], p[i][1], p[i][2], p[i][3]};
    }
  }
  if (capture.stats == nullptr) {
    return;
  }
  const float lse = top + logf(total);
  const RawHeadStats result = summarise(p, seen, lse, lane);
  const std::size_t at = static_cast<std::size_t>(t) * capture.n_rows + index;
  if (lane == 0) {
    capture.stats[at] = result;
    if (kept != nullptr) {
      place.rows[static_cast<std::size_t>(capture.n_rows) * place.row_stride + index] = lse;
    }
  }
  if (capture.pooled == nullptr) {
    return;
  }
  unsigned* const cells = all_cells[warp];
  for (int i = lane; i < capture.bins; i += kWarp) {
    cells[i] = 0;
  }
  __syncwarp();
  pool(p, seen, pooled_width(seen, capture.bins), cells, lane);
  __syncwarp();
  for (int i = lane; i < capture.bins; i += kWarp) {
    capture.pooled[at * capture.bins + i] = pooled_cell(cells[i]);
  }
}

}  // namespace

Status launch_pair_softmax(const Launch& on, const PairStage& s, int first, bool split,
                           const SoftmaxCapture& capture) {
  if (capture.bins > kMaxBins || s.score_stride > kMaxPairKeys) {
    return internal_error(
        "attention rows are pooled to 64 cells, and these have 1,024 keys at most");
  }
  const dim3 grid(static_cast<unsigned>((s.n + kWarps - 1) / kWarps),
                  static_cast<unsigned>(s.heads.n_heads));
  const auto run = [&](auto kernel) {
    return launch(on, kernel, grid, kThreads, 0, s.scores, s.n, s.score_stride, first, split,
                  capture);
  };
  static_assert(kMaxPairKeys == 8 * kTurn);
  return s.score_stride <= 2 * kTurn   ? run(softmax_pairs_kernel<2>)
         : s.score_stride <= 4 * kTurn ? run(softmax_pairs_kernel<4>)
                                       : run(softmax_pairs_kernel<8>);
}

}  // namespace layerscope::kernels::cuda

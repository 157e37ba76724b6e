// Matrix times vector at the speed of memory: the core of every decode stage.
//
// A warp takes kRows rows at once, so that a piece of x in shared memory serves several rows; each
// lane keeps kAhead pieces of 16 bytes per row in flight while it multiplies the ones before. The
// first pieces are asked for before the wait on the previous kernel: weights never change. With
// kSplit > 1 that many warps share a row (few rows, many columns) and add up in a fixed order.
#pragma once

#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {

inline constexpr int kMatvecThreads = 256;
inline constexpr int kMatvecWarps = kMatvecThreads / kWarp;

/// Floats of x in shared memory: whole pieces of the widest kind.
inline int shared_floats(int cols) { return (cols + 31) / 32 * 32; }

/// Blocks for `groups` row groups, `per_block` at a time: every block gets the same number.
inline int even_blocks(int groups, int per_block, int resident_blocks) {
  const int blocks = (groups + per_block - 1) / per_block;
  const int turns = (blocks + resident_blocks - 1) / resident_blocks;
  return (blocks + turns - 1) / turns;
}

#ifdef __CUDACC__

/// The pieces of kRows rows that one lane multiplies.
template <DType kType, int kRows, int kAhead, int kSplit>
struct RowDot {
  using P = Piece<kType>;
  static constexpr int kStep = kWarp * kSplit;

  P now[kRows][kAhead];
  int at = 0;
  int n_pieces = 0;

  /// Asks for the first pieces. `part` = which of the kSplit warps this is.
  __device__ void begin(const DeviceMatrix* const (&m)[kRows], const int (&row)[kRows], int part) {
    n_pieces = (m[0]->stride) / P::kElements;
    at = part * kWarp + static_cast<int>(threadIdx.x) % kWarp;
    load(now, m, row, at);
  }

  __device__ void finish(const DeviceMatrix* const (&m)[kRows], const int (&row)[kRows],
                         const float* x, float (&sum)[kRows]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    while (true) {
      const int next = at + kAhead * kStep;
      const bool more = next - lane < n_pieces;  // the same for the whole warp
      P ahead[kRows][kAhead];
      if (more) {
        load(ahead, m, row, next);
      }
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const int piece = at + u * kStep;
        if (piece < n_pieces) {
          float values[P::kElements];
#pragma unroll
          for (int i = 0; i < P::kElements; i += 4) {
            const float4 v = *reinterpret_cast<const float4*>(x + piece * P::kElements + i);
            values[i] = v.x;
            values[i + 1] = v.y;
            values[i + 2] = v.z;
            values[i + 3] = v.w;
          }
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            sum[r] = now[r][u].dot(values, sum[r]);
          }
        }
      }
      if (!more) {
        break;
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int u = 0; u < kAhead; ++u) {
          now[r][u] = ahead[r][u];
        }
      }
      at = next;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sum[r] = warp_sum(sum[r]);
    }
  }

 private:
  __device__ void load(P (&into)[kRows][kAhead], const DeviceMatrix* const (&m)[kRows],
                       const int (&row)[kRows], int first) const {
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int piece = first + u * kStep;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (piece < n_pieces) {
          into[r][u] = P::load(*m[r], row[r], piece);
        }
      }
    }
  }
};

/// x[0 … padded) = values, zero beyond `cols`. All threads call; ends with a barrier.
__device__ __forceinline__ void stage_plain(float* x, const float* values, int cols, int padded) {
  for (int i = static_cast<int>(threadIdx.x); i < padded; i += kMatvecThreads) {
    x[i] = i < cols ? values[i] : 0.0F;
  }
  __syncthreads();
}

/// x = rms_norm(values) · weight, zero beyond `cols`; every block computes it again, which is
/// cheaper than a launch of its own. Block 0 also writes it to `normed`.
__device__ __forceinline__ void stage_norm(float* x, const float* values, const float* weight,
                                           int cols, int padded, float eps, float* normed) {
  __shared__ float scratch[kWarp];
  float squares = 0.0F;
  for (int i = static_cast<int>(threadIdx.x); i < padded; i += kMatvecThreads) {
    const float v = i < cols ? values[i] : 0.0F;
    x[i] = v;
    squares = fmaf(v, v, squares);
  }
  const float mean = block_sum(squares, scratch) / static_cast<float>(cols);
  const float scale = 1.0F / sqrtf(mean + eps);
  for (int i = static_cast<int>(threadIdx.x); i < cols; i += kMatvecThreads) {
    const float v = x[i] * scale * weight[i];
    x[i] = v;
    if (blockIdx.x == 0 && normed != nullptr) {
      normed[i] = v;
    }
  }
  __syncthreads();
}

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

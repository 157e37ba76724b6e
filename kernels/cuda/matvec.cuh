// Matrix times vector at the speed of memory: the core of every decode stage.
//
// A warp takes kRows rows at once, so that a piece of x in shared memory serves several rows. Its
// weights flow through a ring in shared memory by asynchronous copies, 16 bytes per lane, row and
// step: kDepth − 1 steps are always under way, across rows, without registers (a double buffer in
// registers spilled and waited at every move: 3.3 TB/s on an H200). A lane reads only what it
// copied itself, so no barrier is needed. The first copies start before the wait on the previous
// kernel: weights never change. With kSplit > 1 that many warps share a row (few rows, many
// columns) and add up in a fixed order.
//
// Tried and slower on an H200 (a layer of Llama-3-8B takes 124 µs in F16 and 84 µs in Q8_0 here):
// x in registers with a block of 16 warps per row and a barrier per batch of rows (165 and 158 µs,
// a quarter of the time in the barrier); whole rows by bulk copies with mbarriers, one block per
// multiprocessor (189 and 166 µs, waiting for refills), two (141 and 113 µs). Both without any
// arithmetic read a 1 GB head at 3.3 TB/s, and with it once at 4.3: why is not known.
#pragma once

#include "kernels/cuda/piece.cuh"

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

/// The weights of row groups first, first + turn, … on their way to one warp.
template <DType kType, int kRows, int kDepth, int kSplit>
class RowStream {
 public:
  using P = Piece<kType>;
  static constexpr bool kScaled = P::kSharers > 0;
  static constexpr int kStep = kWarp * kSplit;
  /// Shared memory of a block.
  static constexpr std::size_t kBytes =
      static_cast<std::size_t>(kMatvecWarps) * kDepth * kRows * kWarp * (kScaled ? 20 : 16);

  /// `source(group, r)` gives matrix and row. Asks for the first kDepth − 1 steps. `part` = which
  /// of the kSplit warps this is.
  template <class Source>
  __device__ RowStream(void* shared, int stride, int first, int turn, int n_groups, int part,
                       const Source& source)
      : n_pieces_(stride / P::kElements),
        steps_((n_pieces_ + kStep - 1) / kStep),
        n_words_(kScaled ? words_per_row(n_pieces_, P::kSharers) : 0),
        offset_(part * kWarp + static_cast<int>(threadIdx.x) % kWarp),
        group_(first),
        turn_(turn),
        n_groups_(n_groups) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    constexpr int kRing = kDepth * kRows * kWarp;
    ring_ = static_cast<uint4*>(shared) + warp * kRing + lane;
    scales_ = reinterpret_cast<unsigned*>(static_cast<uint4*>(shared) + kMatvecWarps * kRing) +
              warp * kRing + lane;
    if (group_ < n_groups_) {
      find_rows(source);
    }
#pragma unroll
    for (int i = 0; i < kDepth - 1; ++i) {
      ask(source);
    }
  }

  /// Multiplies the next group with x and adds the lanes up.
  template <class Source>
  __device__ void multiply(const Source& source, const float4* x, int x_pieces,
                           float (&sum)[kRows]) {
    for (int step = 0; step < steps_; ++step) {
      asm volatile("cp.async.wait_group %0;" ::"n"(kDepth - 2) : "memory");
      ask(source);  // into the slot that the step before emptied
      const int piece = step * kStep + offset_;
      if (piece < n_pieces_) {
        float values[P::kElements];
#pragma unroll
        for (int i = 0; i < P::kElements / 4; ++i) {
          const float4 v = x[i * x_pieces + piece];
          values[4 * i] = v.x;
          values[4 * i + 1] = v.y;
          values[4 * i + 2] = v.z;
          values[4 * i + 3] = v.w;
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          unsigned word = 0;
          if constexpr (kScaled) {
            word = scales_[(out_ * kRows + r) * kWarp];
          }
          sum[r] = P::dot(ring_[(out_ * kRows + r) * kWarp], word, piece, values, sum[r]);
        }
      }
      out_ = out_ + 1 == kDepth ? 0 : out_ + 1;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sum[r] = warp_sum(sum[r]);
    }
  }

 private:
  template <class Source>
  __device__ void find_rows(const Source& source) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const auto [matrix, row] = source(group_, r);
      const auto at = static_cast<std::size_t>(row);
      rows_[r] = static_cast<const uint4*>(matrix->data) + at * static_cast<unsigned>(n_pieces_);
      if constexpr (kScaled) {
        words_[r] =
            static_cast<const unsigned*>(matrix->scales) + at * static_cast<unsigned>(n_words_);
      }
    }
  }

  /// One more step of copies; an empty one when nothing is left, so that counting stays simple.
  template <class Source>
  __device__ void ask(const Source& source) {
    if (group_ < n_groups_) {
      const int piece = step_ * kStep + offset_;
      if (piece < n_pieces_) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          copy_async_16(ring_ + (in_ * kRows + r) * kWarp, rows_[r] + piece);
          if constexpr (kScaled) {
            copy_async_4(scales_ + (in_ * kRows + r) * kWarp, words_[r] + piece / P::kSharers);
          }
        }
      }
      if (++step_ == steps_) {
        step_ = 0;
        group_ += turn_;
        if (group_ < n_groups_) {
          find_rows(source);
        }
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    in_ = in_ + 1 == kDepth ? 0 : in_ + 1;
  }

  int n_pieces_, steps_, n_words_, offset_;
  int group_, turn_, n_groups_;
  int step_ = 0, in_ = 0, out_ = 0;
  uint4* ring_ = nullptr;
  unsigned* scales_ = nullptr;
  const uint4* rows_[kRows] = {};
  const unsigned* words_[kRows] = {};
};

/// A row of a matrix.
struct RowOf {
  const DeviceMatrix* matrix;
  int row;
};

// x in shared memory: a lane reads the kElements of its piece as float4; the first float4 of all
// pieces stand together, then all second ones, …: neighbouring lanes then read neighbouring 16
// bytes, without bank conflicts (4-way ones made Q8_0 slower than F16).

/// Where the i-th float4 of x stands.
template <int kElements>
__device__ __forceinline__ int place_of_four(int i, int padded) {
  constexpr int kFours = kElements / 4;
  return i % kFours * (padded / kElements) + i / kFours;
}

/// x = values, zero beyond `cols`. All threads call; ends with a barrier.
template <int kElements>
__device__ __forceinline__ void stage_plain(float4* x, const float* values, int cols, int padded) {
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < padded / 4; i += kMatvecThreads) {
    x[place_of_four<kElements>(i, padded)] = load_four(values, i, cols);
  }
  __syncthreads();
}

/// x = rms_norm(values) · weight, zero beyond `cols`; every block computes it again, which is
/// cheaper than a launch of its own. Block 0 also writes it to `normed`.
template <int kElements>
__device__ __forceinline__ void stage_norm(float4* x, const float* values, const float* weight,
                                           int cols, int padded, float eps, float* normed) {
  __shared__ float scratch[kWarp];
  float squares = 0.0F;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < padded / 4; i += kMatvecThreads) {
    const float4 v = load_four(values, i, cols);
    x[place_of_four<kElements>(i, padded)] = v;
    squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
  }
  const float mean = block_sum(squares, scratch) / static_cast<float>(cols);
  const float scale = 1.0F / sqrtf(mean + eps);
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < padded / 4; i += kMatvecThreads) {
    float4& place = x[place_of_four<kElements>(i, padded)];
    const float4 w = load_four(weight, i, cols);
    float4 v = place;
    v = {v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w};
    place = v;
    if (blockIdx.x == 0 && normed != nullptr) {
      const float four[4] = {v.x, v.y, v.z, v.w};
      for (int k = 0; k < 4 && 4 * i + k < cols; ++k) {
        normed[4 * i + k] = four[k];
      }
    }
  }
  __syncthreads();
}

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

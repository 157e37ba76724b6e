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

#include "kernels/cuda/stage_input.cuh"

namespace layerscope::kernels::cuda {

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
  static constexpr int kStep = kWarp * kSplit;
  static constexpr int kSides = [] {
    if constexpr (P::kBlocks) {
      return P::kSides;
    }
    return 0;
  }();
  static constexpr int kSideWords = [] {
    if constexpr (P::kBlocks) {
      return cuda::kSideWords<kType>;
    }
    return 0;
  }();
  /// Shared memory of a block: the ring of codes, then those of the side planes.
  static constexpr int kSlots = kMatvecWarps * kDepth * kRows * kWarp;
  static constexpr std::size_t kBytes = static_cast<std::size_t>(kSlots) * (16 + 4 * kSideWords);

  /// `source(group, r)` gives matrix and row. Asks for the first kDepth − 1 steps. `part` = which
  /// of the kSplit warps this is.
  template <class Source>
  __device__ RowStream(void* shared, int stride, int first, int turn, int n_groups, int part,
                       const Source& source)
      : n_pieces_(stride / P::kElements),
        steps_((n_pieces_ + kStep - 1) / kStep),
        offset_(part * kWarp + static_cast<int>(threadIdx.x) % kWarp),
        slot_(static_cast<int>(threadIdx.x) / kWarp * (kDepth * kRows * kWarp) +
              static_cast<int>(threadIdx.x) % kWarp),
        group_(first),
        turn_(turn),
        n_groups_(n_groups),
        ring_(static_cast<uint4*>(shared)) {
    if constexpr (P::kBlocks) {
      side_words_ = static_cast<unsigned>(side_offset<kType>(n_pieces_, kSides));
    }
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
        if constexpr (P::kBlocks) {
          Digits<P::kElements> values;
          read_digits(x, x_pieces, piece, values);
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const int slot = slot_ + (out_ * kRows + r) * kWarp;
            std::uint32_t side[kSideWords];
            read_slot(slot, side);
            sum[r] = P::dot(ring_[slot], side, piece, values, sum[r]);
          }
        } else {
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
            sum[r] = P::dot(ring_[slot_ + (out_ * kRows + r) * kWarp], values, sum[r]);
          }
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
  /// The ring of side plane `plane` begins `words` words behind the codes, per slot.
  __device__ std::uint32_t* side_slot(int words_before, int words, int slot) const {
    return reinterpret_cast<std::uint32_t*>(ring_ + kSlots) + words_before * kSlots + slot * words;
  }

  __device__ void read_slot(int slot, std::uint32_t* side) const {
    int before = 0;
#pragma unroll
    for (int p = 0; p < kSides; ++p) {
      if (P::side(p).bytes == 8) {
        const uint2 two = *reinterpret_cast<const uint2*>(side_slot(before, 2, slot));
        side[before] = two.x;
        side[before + 1] = two.y;
        before += 2;
      } else {
        side[before] = *side_slot(before, 1, slot);
        before += 1;
      }
    }
  }

  __device__ void ask_sides(int slot, int r, int piece) {
    int before = 0;
#pragma unroll
    for (int p = 0; p < kSides; ++p) {
      const int words = P::side(p).bytes / 4;
      const std::uint32_t* from = sides_[r] + side_offset<kType>(n_pieces_, p) +
                                  static_cast<unsigned>(piece) /
                                      static_cast<unsigned>(P::side(p).sharers) *
                                      static_cast<unsigned>(words);
      if (words == 2) {
        copy_async_8(side_slot(before, 2, slot), from);
      } else {
        copy_async_4(side_slot(before, 1, slot), from);
      }
      before += words;
    }
  }

  static __device__ void read_digits(const float4* x, int x_pieces, int piece,
                                     Digits<P::kBlocks ? P::kElements : 4>& out) {
    constexpr int kChunks = P::kElements / 16;
    const auto* words = reinterpret_cast<const uint4*>(x);
#pragma unroll
    for (int d = 0; d < 3; ++d) {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const uint4 v = words[(d * kChunks + c) * x_pieces + piece];
        out.of[d][4 * c] = v.x;
        out.of[d][4 * c + 1] = v.y;
        out.of[d][4 * c + 2] = v.z;
        out.of[d][4 * c + 3] = v.w;
      }
    }
    if constexpr (P::kHalves == 2) {
      const float4 shared = x[3 * kChunks * x_pieces + piece];
      out.step = shared.x;
      out.sum[0] = shared.y;
      out.sum[1] = shared.z;
    } else {
      const float2 shared = reinterpret_cast<const float2*>(x + 3 * kChunks * x_pieces)[piece];
      out.step = shared.x;
      out.sum[0] = shared.y;
    }
  }

  template <class Source>
  __device__ void find_rows(const Source& source) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const auto [matrix, row] = source(group_, r);
      const auto at = static_cast<std::size_t>(row);
      rows_[r] = static_cast<const uint4*>(matrix->data) + at * static_cast<unsigned>(n_pieces_);
      if constexpr (P::kBlocks) {
        sides_[r] = static_cast<const std::uint32_t*>(matrix->scales) + at * side_words_;
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
          const int slot = slot_ + (in_ * kRows + r) * kWarp;
          copy_async_16(ring_ + slot, rows_[r] + piece);
          if constexpr (P::kBlocks) {
            ask_sides(slot, r, piece);
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

  int n_pieces_, steps_, offset_, slot_;
  int group_, turn_, n_groups_;
  int step_ = 0, in_ = 0, out_ = 0;
  uint4* ring_ = nullptr;
  const uint4* rows_[kRows] = {};
  unsigned side_words_ = 0;
  const std::uint32_t* sides_[P::kBlocks ? kRows : 1] = {};
};

/// A row of a matrix.
struct RowOf {
  const DeviceMatrix* matrix;
  int row;
};

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

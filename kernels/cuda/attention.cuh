// What decode attention is made of: cached values as they stand, their products with a query, the
// share of a block, and the ring that brings keys and values.
#pragma once

#include "kernels/cuda/device.cuh"

namespace layerscope::kernels::cuda {

inline constexpr int kAttentionThreads = 256;
inline constexpr int kAttentionWarps = kAttentionThreads / kWarp;
inline constexpr int kDims = 8;     ///< dimensions that a lane holds
inline constexpr int kTurns = 4;    ///< turns of a batch: their loads and sums overlap
inline constexpr int kCluster = 8;  ///< blocks of a cluster that every device grants
inline constexpr int kKeysPerBlock =
    256;  ///< before a head is split: 64 … 512 take the same time ± 15 %

template <class F>
Status for_lanes(int head_stride, F&& f) {
  if (head_stride <= 32) {
    return f.template operator()<4>();
  }
  if (head_stride <= 64) {
    return f.template operator()<8>();
  }
  if (head_stride <= 128) {
    return f.template operator()<16>();
  }
  if (head_stride <= 256) {
    return f.template operator()<32>();
  }
  return device_error("the CUDA backend handles heads of at most 256 dimensions");
}

#ifdef __CUDACC__

struct Eight {
  float v[kDims];
};

/// 8 cached values as they stand in memory.
template <class T>
struct Raw {
  static constexpr int kPieces = static_cast<int>(sizeof(T)) / 2;  ///< of 16 bytes
  uint4 bits[kPieces];
};

__device__ __forceinline__ Eight decode(const Raw<float>& raw) {
  return {{__uint_as_float(raw.bits[0].x), __uint_as_float(raw.bits[0].y),
           __uint_as_float(raw.bits[0].z), __uint_as_float(raw.bits[0].w),
           __uint_as_float(raw.bits[1].x), __uint_as_float(raw.bits[1].y),
           __uint_as_float(raw.bits[1].z), __uint_as_float(raw.bits[1].w)}};
}
__device__ __forceinline__ Eight decode(const Raw<__half>& raw) {
  const std::uint32_t words[4] = {raw.bits[0].x, raw.bits[0].y, raw.bits[0].z, raw.bits[0].w};
  Eight e{};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
    e.v[2 * i] = pair.x;
    e.v[2 * i + 1] = pair.y;
  }
  return e;
}

/// Past L1: another kernel may have written it.
template <class T>
__device__ __forceinline__ Raw<T> load_raw(const T* p) {
  Raw<T> raw;
#pragma unroll
  for (int i = 0; i < Raw<T>::kPieces; ++i) {
    raw.bits[i] = __ldcg(reinterpret_cast<const uint4*>(p) + i);
  }
  return raw;
}

/// q · k over a lane's dimensions.
__device__ __forceinline__ float dot_of_lane(const Eight& q, const Eight& k) {
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kDims; ++i) {
    sum = fmaf(q.v[i], k.v[i], sum);
  }
  return sum;
}

/// q · k over the kLanes lanes that share a key; the same bits in each of them.
template <int kLanes>
__device__ __forceinline__ float dot_over_lanes(const Eight& q, const Eight& k) {
  float sum = dot_of_lane(q, k);
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xFFFFFFFFU, sum, step);
  }
  return sum;
}

/// Where the floats of a part stand: [split][head][head_stride] sums, then maxima and totals.
struct Parts {
  float* sums;
  float* maxima;
  float* totals;
};
__device__ inline Parts find_parts(float* base, int n_splits, int n_heads, int stride) {
  const std::size_t rows = static_cast<std::size_t>(n_splits) * static_cast<std::size_t>(n_heads);
  return {base, base + rows * static_cast<std::size_t>(stride),
          base + rows * (static_cast<std::size_t>(stride) + 1)};
}

/// How keys are spread over blocks; the same for every length that a launch serves.
struct Plan {
  int n_splits;
  int keys;      ///< room for scores: keys per block and head
  bool cluster;  ///< the splits of a head are one cluster
};

/// What a block works on.
struct Share {
  int kv_head, first_head, n_heads;  ///< query heads first_head …
  int split, used_splits;
  int kv_len, begin, n_keys;

  __device__ Share(const AttentionStage& s, const Plan& plan, int at_once) {
    const int per_kv = s.heads.n_heads / s.heads.n_kv_heads;
    const int groups = (per_kv + at_once - 1) / at_once;
    kv_head = static_cast<int>(blockIdx.y) / groups;
    first_head = kv_head * per_kv + static_cast<int>(blockIdx.y) % groups * at_once;
    n_heads = min(at_once, (kv_head + 1) * per_kv - first_head);
    // The position was there before the step began.
    kv_len = s.state->position + 1;
    split = static_cast<int>(blockIdx.x);
    const int each = (kv_len + plan.n_splits - 1) / plan.n_splits;
    used_splits = plan.cluster ? plan.n_splits : (kv_len + each - 1) / each;
    begin = split * each;
    n_keys = max(0, min(each, kv_len - begin));
  }
};

/// Keys, then values, of a block on their way to its threads.
template <class T, int kLanes>
class KvRing {
 public:
  static constexpr int kKeys = kWarp / kLanes;           ///< that a warp takes at once
  static constexpr int kTurn = kAttentionWarps * kKeys;  ///< that the block takes at once
  static constexpr int kBatch = kTurns * kTurn;          ///< keys of a batch
  static constexpr int kDepth = sizeof(T) == 2 ? 4 : 2;
  static constexpr int kPieces = Raw<T>::kPieces;
  static constexpr std::size_t kBytes =
      static_cast<std::size_t>(kDepth) * kTurns * kPieces * kAttentionThreads * sizeof(uint4);

  __device__ KvRing(uint4* memory, const AttentionStage& s, const Share& share)
      : ring_(memory + threadIdx.x),
        stride_(s.heads.head_stride),
        n_keys_(share.n_keys),
        newest_(share.kv_len - 1 - share.begin),
        n_batches((share.n_keys + kBatch - 1) / kBatch) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    dim = lane % kLanes * kDims;
    first_key_ = static_cast<int>(threadIdx.x) / kWarp * kKeys + lane / kLanes;
    const std::size_t row = static_cast<std::size_t>(share.kv_head) * s.heads.context + share.begin;
    keys_ = static_cast<const T*>(s.cache.keys) + row * stride_ + dim;
    values_ = static_cast<const T*>(s.cache.values) + row * stride_ + dim;
  }
  /// Which key of the block the thread has in turn t of batch b.
  [[nodiscard]] __device__ int key(int b, int t) const {
    return (b * kTurns + t) * kTurn + first_key_;
  }
  __device__ __forceinline__ void ask() {
    if (asked_ < 2 * n_batches) {
      const T* from = asked_ < n_batches ? keys_ : values_;
      const int b = asked_ < n_batches ? asked_ : asked_ - n_batches;
#pragma unroll
      for (int t = 0; t < kTurns; ++t) {
        const int j = key(b, t);
        const bool inside = j < n_keys_ && j != newest_ && dim < stride_;
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
          copy_async_16(
              place(in_, t, i),
              reinterpret_cast<const uint4*>(from + static_cast<std::size_t>(j) * stride_) + i,
              inside);
        }
      }
      ++asked_;
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    in_ = (in_ + 1) % kDepth;
  }
  /// After the wait on the previous kernel: the newest key and value.
  __device__ __forceinline__ void load_newest() {
    if (newest_ < n_keys_ && newest_ >= 0 && dim < stride_) {
      new_key_ = load_raw(keys_ + static_cast<std::size_t>(newest_) * stride_);
      new_value_ = load_raw(values_ + static_cast<std::size_t>(newest_) * stride_);
    }
  }
  /// The next batch has come; b counts batches of keys or of values.
  __device__ __forceinline__ void take(int b, bool value, Eight (&out)[kTurns]) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kDepth - 1) : "memory");
#pragma unroll
    for (int t = 0; t < kTurns; ++t) {
      Raw<T> raw;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        raw.bits[i] = *place(out_, t, i);
      }
      if (key(b, t) == newest_) {
        raw = value ? new_value_ : new_key_;
      }
      out[t] = decode(raw);
    }
    out_ = (out_ + 1) % kDepth;
    ask();
  }

  int n_batches;
  int dim = 0;  ///< first of the thread's dimensions

 private:
  __device__ __forceinline__ uint4* place(int batch, int t, int i) const {
    return ring_ + ((batch * kTurns + t) * kPieces + i) * kAttentionThreads;
  }
  uint4* ring_;
  int stride_, n_keys_, newest_;
  int first_key_ = 0, asked_ = 0, in_ = 0, out_ = 0;
  const T* keys_ = nullptr;
  const T* values_ = nullptr;
  Raw<T> new_key_{}, new_value_{};
};

#endif  // __CUDACC__

}  // namespace layerscope::kernels::cuda

// Prefill attention of a chunk of queries over an F16 cache: products on the tensor cores that keep
// 22 bits of queries and probabilities. In this order: launch_prepare_pairs, pair_scores, soft-max
// of the scores in place (either one), pair_sums.
#pragma once

#include <cstddef>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

/// Arrays of device pointers, one per head each, that the products read.
enum PairPointer {
  kPairQueriesHigh,
  kPairQueriesLow,
  kPairKeys,
  kPairScores,
  kPairValues,
  kPairOut,
  kPairPointers,
};

struct PairStage {
  HeadLayout heads;                 ///< head_dim a multiple of 4, F16 keys and values
  LayerCache cache;                 ///< of which keys [0, n_keys) are written
  const float* q = nullptr;         ///< [n][heads][head_dim], rotated
  int n = 0;                        ///< tokens of the chunk
  int n_keys = 0;                   ///< keys that the last of them sees
  float* scores = nullptr;          ///< [heads][n][score_stride]; 32-byte aligned
  int score_stride = 0;             ///< pair_stride(n_keys)
  float* out = nullptr;             ///< [n][heads][head_dim]
  void* q_pair = nullptr;           ///< pair_queries_bytes(…)
  void* value_pair = nullptr;       ///< pair_values_bytes(…)
  const void** pointers = nullptr;  ///< [kPairPointers][heads], in device memory
};

/// Whether these kernels handle heads of that shape.
inline bool takes_pairs(const HeadLayout& heads) {
  return !heads.kv_f32 && heads.head_dim % 4 == 0;
}
/// Floats between rows of scores.
inline int pair_stride(int keys) { return (keys + 7) / 8 * 8; }
/// Work space for the whole context, and for so many tokens at once.
std::size_t pair_values_bytes(const HeadLayout& heads);
std::size_t pair_queries_bytes(const HeadLayout& heads, int tokens);

/// Splits q, repeats the values and fills `pointers`.
Status launch_prepare_pairs(const Launch& on, const PairStage& stage);
/// scores = scale · q · keysᵀ, unmasked. Columns from n_keys to score_stride are left alone.
Status pair_scores(Gemm& gemm, const PairStage& stage, float scale);
/// Soft-max of the scores in place, where rows are no longer than kMaxPairKeys; token t sees keys
/// [0, first + t]. `split`: as the pairs that pair_sums needs, else as probabilities. Kept rows
/// are 16-byte aligned.
inline constexpr int kMaxPairKeys = 1024;
Status launch_pair_softmax(const Launch& on, const PairStage& stage, int first, bool split,
                           const SoftmaxCapture& capture);
/// out = scores · values. The scores must be probabilities, 0 wherever a query does not look, up to
/// score_stride, and are overwritten; or `split` already.
Status pair_sums(const Launch& on, Gemm& gemm, const PairStage& stage, bool split);

}  // namespace layerscope::kernels::cuda

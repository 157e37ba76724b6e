// Operations of the pass that does something wrong on purpose: plain kernels, one step each, read
// to understand a bug rather than timed. They run only while faults are in force.
//
// Conventions as in kernels/cuda/ops.h.
#pragma once

#include <cstdint>

#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

/// What is wrong with the rotation of one head; bits of FaultRotation::modes.
enum RotationMode : std::uint8_t {
  kRotateNot = 1,
  kRotateTwice = 2,
  kRotateOtherPairs = 4,   ///< adjacent for half-split and the other way round
  kRotateOtherAngles = 8,  ///< `other` instead of `cos_sin`
};

/// out[t][head] = in[t][head] rotated; in and out [n][heads][head_dim], they must not alias.
struct FaultRotation {
  const float* in = nullptr;
  float* out = nullptr;
  int n = 0;
  int n_heads = 0;
  int head_dim = 0;
  RopeLayout rope;
  const float* cos_sin = nullptr;       ///< [n][rope.dim]
  const float* other = nullptr;         ///< [n][rope.dim]; read where a mode asks for it
  const std::uint8_t* modes = nullptr;  ///< [n_heads]
};
Status launch_fault_rotation(const Launch& on, const FaultRotation& stage);

/// Appends rotated queries [n][heads][head_dim] to the cache at slots position, position + 1, …
Status launch_store_queries(const Launch& on, const HeadLayout& heads, const LayerCache& cache,
                            const float* queries, int position, int n);

/// Writes one slot of every KV head: keys and values [kv_heads][head_dim]; or, where `keys` is
/// null, what slot `from` holds; or, where that is negative, zero.
struct SlotWrite {
  HeadLayout heads;
  LayerCache cache;
  const float* keys = nullptr;
  const float* values = nullptr;
  int from = -1;
  int slot = 0;
};
Status launch_write_slot(const Launch& on, const SlotWrite& write);

/// How one query head attends.
struct FaultHead {
  double scale = 1.0;  ///< of q · k
  std::int32_t kv_head = 0;
  std::int32_t sees_all = 0;      ///< keys of later tokens of the pass as well
  std::int32_t unnormalised = 0;  ///< the division of the soft-max is left out
  std::int32_t half_scores = 0;   ///< q · k accumulated in float16
  double cap = 0.0;               ///< soft-cap of the scores; 0: none
  std::int32_t window = 0;        ///< keys that a query sees, its own included; 0: all
};

/// Attention of one token, all heads: scores, weights, their sum of values, and the statistics of
/// the causal part of each row. Sums in float64.
struct FaultAttention {
  HeadLayout heads;
  LayerCache cache;
  const float* q = nullptr;             ///< [heads][head_dim], rotated
  const FaultHead* per_head = nullptr;  ///< [heads]
  int own = 0;                          ///< keys that a causal row sees
  int keys = 0;                         ///< keys of the whole pass, ≥ own: the width of a row
  float* scores = nullptr;              ///< [heads][keys], −∞ where masked
  float* weights = nullptr;             ///< [heads][keys], 0 where masked
  float* out = nullptr;                 ///< [heads][head_dim]
  RawHeadStats* stats = nullptr;        ///< [heads]
};
Status launch_fault_attention(const Launch& on, const FaultAttention& stage);

}  // namespace layerscope::kernels::cuda

// Maps for the screen: any part of one head's attention, at the resolution that is looked at.
//
// Recomputed from the caches (rotated Q, K), never stored: a 32,768 × 32,768 map has a milliard
// cells, the screen a million. Nothing is hidden: a cell shows the largest value of the query–key
// pairs that it covers, and NaN wins over every number.
#pragma once

#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

/// Cells that hold no pair (keys after the query), as gui::HeatmapData::kHole.
inline constexpr float kMapHole = -3.402823466e+38F;

struct AttentionMapStage {
  HeadLayout heads;
  LayerCache cache;
  float scale = 1.0F;
  ScoreRules rules;
  int head = 0;
  int first_query = 0;  ///< of the part shown
  int n_queries = 0;
  int first_key = 0;
  int n_keys = 0;
  int bin = 1;             ///< a cell covers bin × bin pairs; a power of two
  bool scores = false;     ///< scores instead of probabilities; −∞ before the window
  float* lse = nullptr;    ///< [n_queries] work space, log Σ exp(score) of each query afterwards
  float* cells = nullptr;  ///< [⌈n_queries / bin⌉][stride], overwritten
  int stride = 0;          ///< ≥ ⌈n_keys / bin⌉
  /// Log Σ exp(score) of each query, `known_stride` apart, where it is known: `lse` is unused then.
  const float* known_lse = nullptr;
  int known_stride = 1;
};

/// Errors (kDevice): as of any launch. Reads keys [0, first_query + n_queries) of the head's KV
/// head.
Status launch_attention_map(const Launch& on, const AttentionMapStage& stage);

/// The same in steps, for maps that grow with the tokens: `cells` hold codes that only ever rise.
/// A later part must start at a query whose distance from the first part's is a multiple of `bin`,
/// its `cells` at that row; pairs that are added twice change nothing.
Status launch_map_clear(const Launch& on, float* cells, std::size_t n);
Status launch_map_add(const Launch& on, const AttentionMapStage& stage);
/// Codes [n] to values: kMapHole where nothing was added.
Status launch_map_values(const Launch& on, const float* cells, std::size_t n, float* out);

}  // namespace layerscope::kernels::cuda

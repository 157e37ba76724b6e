// Looking on request: what the caches hold, slot by slot, and where a token stands in several
// distributions at once.
#pragma once

#include <cstdint>

#include "engine/base/result.h"
#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

/// One slot of one KV head; as capture::SlotStats. Non-finite values are counted and left out.
struct RawSlotStats {
  float k_l2 = 0.0F, v_l2 = 0.0F;
  std::uint16_t non_finite = 0;  ///< 65,535 at most
  bool zero = true;
};
/// Slots [0, n_slots) of every KV head of one layer: out[kv_heads][n_slots].
Status launch_slot_stats(const Launch& on, const HeadLayout& heads, const LayerCache& cache,
                         int n_slots, RawSlotStats* out);

/// How a token does in a row of logits.
struct TokenRank {
  float logit = 0.0F;
  std::int32_t rank = -1;  ///< rows with a larger logit; −1: there is no token
};
/// Of token *id in each of `n_rows` rows of `width` logits; a negative id gives rank −1.
Status launch_token_ranks(const Launch& on, const float* logits, int n_rows, int width,
                          const std::int32_t* id, TokenRank* out);

}  // namespace layerscope::kernels::cuda

// Taps: the canonical names of what can be captured, in order of computation.
//
// A decoder has those that its spec has: the others stay empty (TapStats::count 0). Where both
// blocks run side by side, resid_mid is the sum after attention, which the feed-forward does not
// read.
//
// Adding a tap: one enumerator in computation order and its name in taps.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace layerscope::capture {

enum class Tap : std::uint8_t {
  kEmbedding,     ///< [tokens, hidden], model-wide
  kAttnNorm,      ///< [tokens, hidden]; from here to kResidOut per layer
  kQ,             ///< [tokens, heads, head_dim], after bias and QK-norm, before RoPE
  kK,             ///< [tokens, kv_heads, head_dim], likewise
  kV,             ///< [tokens, kv_heads, head_dim]
  kQRope,         ///< [tokens, heads, head_dim]
  kKRope,         ///< [tokens, kv_heads, head_dim]
  kAttnScores,    ///< [heads, tokens, keys], scaled, soft-capped, masked (−∞ where masked)
  kAttnWeights,   ///< [heads, tokens, keys], after soft-max
  kAttnContext,   ///< [tokens, heads, head_dim]
  kAttnOut,       ///< [tokens, hidden], after the output projection
  kAttnPostNorm,  ///< [tokens, hidden], where what the block gave is normalised
  kResidMid,      ///< [tokens, hidden]
  kFfnNorm,       ///< [tokens, hidden]
  kMoeRouter,     ///< [tokens, experts], logits of the router
  kMoeTopk,       ///< [tokens, used experts], the chosen experts' numbers, heaviest first
  kMoeWeights,    ///< [tokens, used experts], what their outputs are multiplied by
  kFfnGate,       ///< [tokens, ffn]; with experts [tokens, used experts, ffn], as the next two
  kFfnUp,         ///< [tokens, ffn]
  kFfnAct,        ///< [tokens, ffn], activation(gate) · up, or activation(up) without a gate
  kFfnOut,        ///< [tokens, hidden]
  kFfnPostNorm,   ///< [tokens, hidden], where what the block gave is normalised
  kResidOut,      ///< [tokens, hidden]
  kFinalNorm,     ///< [tokens, hidden], model-wide
  kLogits,        ///< [tokens, vocabulary rows], model-wide
};

inline constexpr std::size_t kNumTaps = static_cast<std::size_t>(Tap::kLogits) + 1;

/// "attn_norm"
std::string_view tap_name(Tap tap);
std::optional<Tap> find_tap(std::string_view name);
/// False for embedding, final_norm and logits.
bool is_layer_tap(Tap tap);

}  // namespace layerscope::capture

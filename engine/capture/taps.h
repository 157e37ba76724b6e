// Taps: the canonical names of what can be captured, in order of computation.
//
// Adding a tap: one enumerator in computation order and its name in taps.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace layerscope::capture {

enum class Tap : std::uint8_t {
  kEmbedding,    ///< [tokens, hidden], model-wide
  kAttnNorm,     ///< [tokens, hidden]; from here to kResidOut per layer
  kQ,            ///< [tokens, heads, head_dim], after bias and QK-norm, before RoPE
  kK,            ///< [tokens, kv_heads, head_dim], likewise
  kV,            ///< [tokens, kv_heads, head_dim]
  kQRope,        ///< [tokens, heads, head_dim]
  kKRope,        ///< [tokens, kv_heads, head_dim]
  kAttnScores,   ///< [heads, tokens, keys], scaled, soft-capped, masked (−∞ where masked)
  kAttnWeights,  ///< [heads, tokens, keys], after soft-max
  kAttnContext,  ///< [tokens, heads, head_dim]
  kAttnOut,      ///< [tokens, hidden], after the output projection
  kResidMid,     ///< [tokens, hidden]
  kFfnNorm,      ///< [tokens, hidden]
  kFfnGate,      ///< [tokens, ffn]
  kFfnUp,        ///< [tokens, ffn]
  kFfnAct,       ///< [tokens, ffn], activation(gate) · up
  kFfnOut,       ///< [tokens, hidden]
  kMoeRouter,    ///< [tokens, experts]
  kMoeTopk,      ///< [tokens, used experts]
  kResidOut,     ///< [tokens, hidden]
  kFinalNorm,    ///< [tokens, hidden], model-wide
  kLogits,       ///< [tokens, vocabulary rows], model-wide
};

inline constexpr std::size_t kNumTaps = static_cast<std::size_t>(Tap::kLogits) + 1;

/// "attn_norm"
std::string_view tap_name(Tap tap);
std::optional<Tap> find_tap(std::string_view name);
/// False for embedding, final_norm and logits.
bool is_layer_tap(Tap tap);

}  // namespace layerscope::capture

#include "engine/capture/taps.h"

#include <array>

namespace layerscope::capture {
namespace {

constexpr std::array<std::string_view, kNumTaps> kNames{"embedding",
                                                        "attn_norm",
                                                        "q",
                                                        "k",
                                                        "v",
                                                        "q_rope",
                                                        "k_rope",
                                                        "attn_scores",
                                                        "attn_weights",
                                                        "attn_context",
                                                        "attn_out",
                                                        "attn_post_norm",
                                                        "resid_mid",
                                                        "ffn_norm",
                                                        "moe_router",
                                                        "moe_topk",
                                                        "moe_weights",
                                                        "ffn_gate",
                                                        "ffn_up",
                                                        "ffn_act",
                                                        "ffn_out",
                                                        "ffn_post_norm",
                                                        "resid_out",
                                                        "final_norm",
                                                        "logits"};

}  // namespace

std::string_view tap_name(Tap tap) { return kNames[static_cast<std::size_t>(tap)]; }

std::optional<Tap> find_tap(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) {
      return static_cast<Tap>(i);
    }
  }
  return std::nullopt;
}

bool is_layer_tap(Tap tap) {
  return tap != Tap::kEmbedding && tap != Tap::kFinalNorm && tap != Tap::kLogits;
}

}  // namespace layerscope::capture

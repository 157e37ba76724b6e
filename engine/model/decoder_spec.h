// DecoderSpec: what a decoder is made of, as data. Both backends run any spec.
//
// An architecture (engine/arch) fills it from a file's metadata. Immutable once read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace layerscope::model {

enum class NormKind : std::uint8_t { kRms, kLayer };

/// Norm of Q and K between the projection and RoPE.
enum class QkNorm : std::uint8_t {
  kNone,
  kHead,     ///< each head, one weight [head_dim] for all
  kOwnHead,  ///< each head with its own weights [heads, head_dim]
  kWhole,    ///< all heads as one row [heads · head_dim]
};

/// How the frequencies are changed for contexts longer than in training.
enum class RopeScaling : std::uint8_t {
  kNone,
  kLinear,    ///< positions divided by `rope_divisor` (Chen et al. 2023)
  kYarn,      ///< between none and linear, by wavelength (Peng et al. 2023)
  kLongRope,  ///< divisors per pair from two tensors (Ding et al. 2024)
  kLlama3,    ///< between none and linear, by wavelength, as Llama 3.1's configuration says
  kDynamic,   ///< a larger base for contexts beyond that of training ("dynamic NTK")
};

struct DecoderSpec {
  std::string architecture;  ///< general.architecture
  int n_layers = 0;
  int hidden = 0;      ///< width of the residual stream
  int n_heads = 0;     ///< query heads
  int n_kv_heads = 0;  ///< key/value heads; divides n_heads (GQA, Ainslie et al. 2023)
  int head_dim = 0;
  int ffn = 0;         ///< width of the feed-forward; of one expert where there are experts
  int vocab_rows = 0;  ///< rows of the embedding and of the head, padding included
  int train_context = 0;

  // Norms. In the file Gemma's weights already hold the 1 of its (1 + w).
  NormKind norm_kind = NormKind::kRms;
  float norm_eps = 0.0F;
  bool pre_norm = true;           ///< false: the blocks read the stream as it is (OLMo 2)
  bool post_norm = false;         ///< what a block gives is normalised before it is added
  bool parallel = false;          ///< both blocks read the stream that enters the layer
  bool ffn_shares_norm = false;   ///< with `parallel`: the feed-forward reads attn_norm
  bool second_attn_norm = false;  ///< with that: Q, K, V read a norm of their own (Falcon 40B)
  QkNorm qk_norm = QkNorm::kNone;
  NormKind qk_norm_kind = NormKind::kRms;
  bool norms_add_one = false;  ///< Norm weights are used as 1 + w; the file holds the sum.

  // Positions.
  bool learned_positions = false;  ///< rows of `position_embd` are added to the embedding
  kernels::RopePairing rope_pairing = kernels::RopePairing::kHalf;
  int rope_dim = 0;  ///< rotated dimensions per head, even, ≤ head_dim
  double rope_base = 10000.0;
  RopeScaling rope_scaling = RopeScaling::kNone;
  double rope_divisor = 1.0;      ///< the scaling's factor
  int rope_original_context = 0;  ///< the context of pre-training, where the scaling asks for it
  double rope_factor = 1.0;       ///< multiplies cosines and sines (YaRN, LongRoPE)
  double yarn_beta_fast = 32.0, yarn_beta_slow = 1.0;
  double llama3_low = 1.0, llama3_high = 4.0;  ///< frequency factors
  int no_rope_every = 0;            ///< layers n−1, 2n−1, … do not rotate (0: all rotate)
  double rope_base_windowed = 0.0;  ///< base of the windowed layers, unscaled; 0: as the others

  // Attention.
  bool needs_qkv_bias = false;  ///< The architecture has Q, K, V biases: their absence is an error.
  bool needs_norm_bias = false, needs_block_bias = false;  ///< likewise: norms; out, up, down
  float attention_scale = 0.0F;                            ///< multiplies q · k
  float attention_cap = 0.0F;                              ///< soft-cap of the scores; 0: none
  int window = 0;  ///< keys a windowed layer sees, its own included; 0: no layer has one
  std::vector<bool> windowed;  ///< [n_layers] where window > 0

  // Feed-forward.
  bool gated = true;  ///< down(activation(gate) · up), else down(activation(up))
  kernels::Activation activation = kernels::Activation::kSilu;
  int n_experts = 0;  ///< 0: dense
  int n_experts_used = 0;
  bool expert_weights_norm = true;  ///< the chosen experts' weights are divided by their sum

  // Ends.
  float embedding_scale = 1.0F;
  float logit_scale = 1.0F;
  float logit_cap = 0.0F;  ///< soft-cap of the logits; 0: none

  // How the file stores it.
  bool fused_qkv = false;      ///< one tensor holds the rows of Q, K, V
  bool fused_gate_up = false;  ///< `ffn_up` holds the rows of gate, then of up

  [[nodiscard]] int q_width() const { return n_heads * head_dim; }
  [[nodiscard]] int kv_width() const { return n_kv_heads * head_dim; }
  [[nodiscard]] int heads_per_kv() const { return n_heads / n_kv_heads; }
  /// Values of a token at the taps ffn_gate, ffn_up, ffn_act.
  [[nodiscard]] int ffn_width() const { return n_experts > 0 ? n_experts_used * ffn : ffn; }
  [[nodiscard]] bool has_ffn_norm() const { return pre_norm && !ffn_shares_norm; }
  [[nodiscard]] bool layer_windowed(int layer) const {
    return window > 0 && windowed[static_cast<std::size_t>(layer)];
  }
  /// Keys before this one are outside the layer's window for a query at `position`.
  [[nodiscard]] int first_key(int layer, int position) const {
    return layer_windowed(layer) && position >= window ? position - window + 1 : 0;
  }
  [[nodiscard]] bool layer_rotates(int layer) const {
    return rope_pairing != kernels::RopePairing::kNone &&
           (no_rope_every == 0 || (layer + 1) % no_rope_every != 0);
  }
  /// True when a context of so many slots has frequencies of its own: LongRoPE's long divisors, the
  /// dynamic scaling's larger base.
  [[nodiscard]] bool long_rope(int context) const {
    const bool depends =
        rope_scaling == RopeScaling::kLongRope || rope_scaling == RopeScaling::kDynamic;
    return depends && context > rope_original_context;
  }
};

}  // namespace layerscope::model

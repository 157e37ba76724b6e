// Operations that only some architectures need: one step each, plain kernels beside the fused
// stages of ops.h. Conventions as there; every kernel may stand in a chain of dependent launches.
#pragma once

#include <cstdint>

#include "kernels/cuda/ops.h"

namespace layerscope::kernels::cuda {

/// out[r] = norm(x[r]), rows of `width`. RMS norm without, layer norm with `centred`: x − mean(x),
/// divided by sqrt(mean square + eps), · weight + bias. Moments in float64, as on the CPU. `out`
/// may be x.
struct NormRows {
  const float* x = nullptr;
  const float* weight = nullptr;  ///< [weight_rows][width]: row r has weights r mod weight_rows
  const float* bias = nullptr;    ///< likewise; null: none
  float* out = nullptr;
  int n_rows = 0;
  int width = 0;
  int weight_rows = 1;
  float eps = 0.0F;
  bool centred = false;
};
Status launch_norm_rows(const Launch& on, const NormRows& stage);

/// x[t] = x[t] · row_scale[t] + bias, in place; either may be null.
Status launch_finish_rows(const Launch& on, float* x, const float* row_scale, const float* bias,
                          int n, int width);

/// out = a + b, `count` values; out may be either.
Status launch_add_rows(const Launch& on, const float* a, const float* b, float* out,
                       std::size_t count);

/// out[i] = activation(gate[i]) · up[i]; without the factor where `up` is null.
Status launch_activate(const Launch& on, Activation kind, const float* gate, const float* up,
                       float* out, std::size_t count);

/// x[t] = x[t] · scale + row (*position + t) of `positions` (data null: none).
Status launch_finish_embedding(const Launch& on, float* x, int n, int width, float scale,
                               const DeviceMatrix& positions, const std::int32_t* position);

/// cos_sin[t][dim] = factor · cos and sin of (*position + t) · inv_freq, as kernels::rope_angles.
Status launch_rope_angles(const Launch& on, const double* inv_freq, const std::int32_t* position,
                          int n, int dim, double factor, float* cos_sin);

/// logits = cap · tanh(logits · scale / cap); cap 0: none.
Status launch_finish_logits(const Launch& on, float* logits, std::size_t count, float scale,
                            float cap);

/// As launch_attention_decode, for layers with a cap or a window, and for heads of any size.
/// Keys before the window are not read: their scores are −∞.
Status launch_attention_ruled(const Launch& on, const AttentionStage& stage,
                              const ScoreRules& rules);

/// As launch_attention_recompute, with the same rules.
Status launch_attention_recompute_ruled(const Launch& on, const HeadLayout& heads,
                                        const LayerCache& cache, float scale,
                                        const ScoreRules& rules, int head, int first, int n,
                                        float* out, int stride);

/// Prefill: the rules upon scaled scores [heads][n][keys] in place; row t is of query first + t.
Status launch_rule_scores(const Launch& on, float* scores, int n_heads, int n, int keys, int first,
                          const ScoreRules& rules);

// ---- Experts
// -------------------------------------------------------------------------------------

/// Picks the experts of each token as kernels::route_experts does.
struct RouteStage {
  const float* logits = nullptr;  ///< [n][n_experts]
  int n = 0;
  int n_experts = 0;
  int used = 0;
  bool normalise = true;
  int skip = 0;                    ///< a fault: ranked so many places lower
  std::int32_t* chosen = nullptr;  ///< [n][used], heaviest first
  float* numbers = nullptr;        ///< the same as float32, for the capture
  float* shares = nullptr;         ///< [n][used]
};
Status launch_route(const Launch& on, const RouteStage& stage);

/// Mat-vec products with the experts that each token chose; only their rows are read.
/// out[t][slot] = x · w[chosen[t][slot]]ᵀ, with x[t], or x[t][slot] where `x_per_slot`. Float32
/// throughout; many tokens read an expert's rows once each.
struct ExpertStage {
  DeviceMatrix w;                        ///< all experts' rows, one expert after the other
  int rows = 0;                          ///< of one expert
  const std::int32_t* chosen = nullptr;  ///< [n][used]; null: there is one matrix
  int used = 1;
  int n = 0;
  const float* x = nullptr;
  bool x_per_slot = false;
  float* out = nullptr;  ///< [n][used][rows]
};
Status launch_expert_product(const Launch& on, const ExpertStage& stage);

/// Rows in another order: out[i] = in[index[i] / share], or, where `scatter`, out[index[i]] =
/// in[i].
struct MoveRows {
  const float* in = nullptr;
  float* out = nullptr;
  const std::int32_t* index = nullptr;  ///< [n]
  int n = 0;
  int width = 0;
  int share = 1;
  bool scatter = false;
};
Status launch_move_rows(const Launch& on, const MoveRows& stage);

/// out[t] = Σ_slot shares[t][slot] · parts[t][slot], in order of slots.
Status launch_weigh_experts(const Launch& on, const float* parts, const float* shares, int n,
                            int used, int width, float* out);

}  // namespace layerscope::kernels::cuda

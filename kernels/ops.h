// Every operation of the decoder on the CPU, declared once.
//
// Conventions: row-major, last dimension contiguous, float32 activations and float32 accumulation.
// Outputs never alias inputs unless said. No function allocates on the hot path or keeps state;
// those that take a ThreadPool split their work over it, and give the same bits for any pool size.
// Plain versions (`reference::`) are the oracle of the fast ones.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/base/thread_pool.h"
#include "kernels/dtype.h"

namespace layerscope::kernels {

/// A weight matrix in its file type: [rows, cols], rows contiguous. `data` null: absent.
struct Matrix {
  DType dtype = DType::kF32;
  const std::byte* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;

  [[nodiscard]] const std::byte* row(std::size_t r) const {
    return data + r * dtype_bytes(dtype, cols);
  }
};

/// Decodes n elements (whole blocks) of a decodable type; `data` may be misaligned.
void dequantize_row(DType dtype, const std::byte* data, std::size_t n, float* out);

/// One product of a fused group: out[n, w.rows] = x[n, w.cols] · wᵀ (+ bias[w.rows]).
struct Product {
  Matrix w;
  const float* bias = nullptr;  ///< null: none
  float* out = nullptr;         ///< rows `out_stride` floats apart
  std::size_t out_stride = 0;   ///< ≥ w.rows
};

/// Runs up to `n_products` products of the same x[n_tokens, cols] as one parallel region. A row of
/// the result has the same bits for any n_tokens (decode equals prefill).
void matmul(ThreadPool& pool, const Product* products, std::size_t n_products, const float* x,
            std::size_t n_tokens, std::size_t cols);

/// out[i] = x[i] · weight[i] / sqrt(mean(x²) + eps), one row (Zhang & Sennrich 2019). The mean is
/// summed in float64. May alias.
void rms_norm(const float* x, const float* weight, std::size_t n, float eps, float* out);

/// out[i] = (x[i] − mean) · weight[i] / sqrt(variance + eps) + bias[i], one row (Ba et al. 2016);
/// mean and variance are summed in float64. `bias` may be null. May alias.
void layer_norm(const float* x, const float* weight, const float* bias, std::size_t n, float eps,
                float* out);

/// How rotary embedding pairs the dimensions of a head (Su et al. 2021).
enum class RopePairing : std::uint8_t {
  kNone,
  kHalf,      ///< (i, i + dim/2): NeoX order
  kAdjacent,  ///< (2i, 2i + 1)
};

/// Rotates one head in place: pair i by angle position · inv_freq[i], i < dim/2; the rest of the
/// head stays as it is. cos/sin come from `rope_angles`.
void rope_apply(float* head, const float* cos_sin, std::size_t dim, RopePairing pairing);

/// cos_sin[2i], cos_sin[2i + 1] = factor · cos, factor · sin of position · inv_freq[i], i < n_pairs
/// (float64 inside). The factor is YaRN's and LongRoPE's attention factor.
void rope_angles(std::int32_t position, const double* inv_freq, std::size_t n_pairs, float* cos_sin,
                 double factor = 1.0);

/// out[i] = silu(gate[i]) · up[i], silu(x) = x / (1 + e^−x) (Shazeer 2020). May alias.
void swiglu(const float* gate, const float* up, std::size_t n, float* out);

/// What stands between the two matrices of a feed-forward.
enum class Activation : std::uint8_t {
  kSilu,      ///< x / (1 + e^−x)
  kGeluTanh,  ///< x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))) (Hendrycks & Gimpel 2016)
  kGelu,      ///< x/2 · (1 + erf(x/√2))
};

/// out[i] = activation(gate[i]) · up[i]; without the factor where `up` is null. May alias.
void activate(Activation kind, const float* gate, const float* up, std::size_t n, float* out);

/// x[i] = cap · tanh(x[i] / cap), which stays within ±cap (Gemma 2)
void soft_cap(float* x, std::size_t n, float cap);

/// x[i] *= factor
void scale_in_place(float* x, std::size_t n, float factor);

/// Picks the `k` largest of n router logits (ties: the first), largest first, and their soft-max
/// probabilities over all n; `normalise` divides them by their sum (Jiang et al. 2024).
void route_experts(const float* logits, std::size_t n, std::size_t k, bool normalise,
                   std::int32_t* chosen, float* weights);

/// x[i] += y[i]
void add_in_place(float* x, const float* y, std::size_t n);

/// Attention of one query head over `kv_len` keys (Vaswani et al. 2017):
/// probs[j] = softmax_j(cap(scale · q · k_j)), out = Σ_j probs[j] · v_j. Keys before `first_key`
/// are outside the sliding window (Beltagy et al. 2020): score −∞, probability 0, never read.
struct AttentionHead {
  const float* q = nullptr;  ///< [head_dim]
  const float* k = nullptr;  ///< [kv_len][head_dim]
  const float* v = nullptr;  ///< [kv_len][head_dim]
  std::size_t kv_len = 0;    ///< ≥ 1
  std::size_t head_dim = 0;
  float scale = 1.0F;
  float soft_cap = 0.0F;      ///< scores become cap · tanh(score / cap); 0: none
  std::size_t first_key = 0;  ///< < kv_len
  float* scores = nullptr;    ///< [kv_len], optional: keeps the scaled, capped scores
  float* probs = nullptr;     ///< [kv_len], required
  float* out = nullptr;       ///< [head_dim]; null: only the probabilities
};

/// What the attention row shows; computed by `attention_head` at no extra pass over K or V.
struct AttentionSummary {
  float row_sum = 0.0F;
  float entropy = 0.0F;  ///< nats
  float max = 0.0F;
  std::int32_t argmax = 0;
  float lse = 0.0F;  ///< log Σ exp(score)
};

/// Computes one head; `summary` may be null. The results do not depend on what is captured.
void attention_head(const AttentionHead& head, AttentionSummary* summary);

/// Moments of a row in one pass. Non-finite values are counted and left out of the others.
struct RowStats {
  double sum = 0.0;
  double sum_squares = 0.0;
  float absmax = 0.0F;
  std::uint32_t non_finite = 0;
  std::uint32_t zeros = 0;
};
RowStats row_stats(const float* x, std::size_t n);

/// Plain loops, float32 accumulation in float64 where noted: the oracle of the functions above.
namespace reference {
void matmul(const Product& product, const float* x, std::size_t n_tokens, std::size_t cols);
void rms_norm(const float* x, const float* weight, std::size_t n, float eps, float* out);
void layer_norm(const float* x, const float* weight, const float* bias, std::size_t n, float eps,
                float* out);
void swiglu(const float* gate, const float* up, std::size_t n, float* out);
void activate(Activation kind, const float* gate, const float* up, std::size_t n, float* out);
void attention_head(const AttentionHead& head, AttentionSummary* summary);
RowStats row_stats(const float* x, std::size_t n);
}  // namespace reference

}  // namespace layerscope::kernels

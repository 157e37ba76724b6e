// Every operation of the decoder on the GPU, declared once: host launchers.
//
// Conventions: as in kernels/ops.h (row-major, float32 activations and accumulation). All pointers
// are device pointers. A launcher enqueues on its stream, allocates nothing, synchronises nothing.
// Sizes that change from token to token (position, token id) are read from device memory, so that
// the launches of a decode step can be captured into a graph once and replayed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "engine/base/result.h"
#include "kernels/dtype.h"
#include "kernels/ops.h"

namespace layerscope::kernels::cuda {

/// Where and how to launch.
struct Launch {
  cudaStream_t stream = nullptr;
  int sm_count = 1;
  /// Programmatic dependent launch (compute capability ≥ 9.0): a kernel may start while the one
  /// before it drains. It prefetches weights, then waits; the results are the same bits.
  bool overlap = false;
};

/// A weight matrix [rows, cols] in device memory. Rows start 16-byte aligned, `stride` elements
/// apart, and the elements between cols and stride are zero. Block types stand in planes
/// (block_planes.h): `data` holds the codes, `scales` rows of side words.
struct DeviceMatrix {
  DType dtype = DType::kF32;
  const void* data = nullptr;
  const void* scales = nullptr;
  int rows = 0;
  int cols = 0;
  int stride = 0;
};

/// Elements per row of a matrix with `cols` columns, and the bytes of its planes.
int padded_cols(DType dtype, int cols);
std::size_t plane_bytes(DType dtype, int rows, int cols);
std::size_t scale_bytes(DType dtype, int rows, int cols);
/// Whether it is a block type that decode multiplies as it is.
bool has_planes(DType dtype);
/// Rows [first, first + count) of a matrix.
DeviceMatrix matrix_rows(const DeviceMatrix& m, int first, int count);

/// How the next token is chosen; as backend::Sampling.
struct StepSampling {
  double uniform = 0.0;  ///< the draw's random number, in [0, 1)
  float temperature = 0.0F, top_p = 1.0F, min_p = 0.0F, repeat_penalty = 1.0F;
  std::int32_t top_k = 0, repeat_last_n = 0;
};

/// What a step is about, in device memory.
struct StepState {
  std::int32_t token = 0;
  std::int32_t position = 0;
  /// Scaled scores of every head of every layer, [rows][row_stride], followed by the log-sum-exp of
  /// every row, [rows]; null: not wanted. A multiple of 4.
  float* rows = nullptr;
  std::int32_t row_stride = 0;
  std::int32_t follow_row = -1;  ///< a row whose probabilities go to the host; −1: none
  StepSampling sampling;
  std::int32_t keep = 0;   ///< 1: the position's statistics go to the history for drawing
  std::int32_t next = -1;  ///< the token chosen by the step before
  std::uint32_t step = 0;  ///< steps begun so far
};

/// One layer of the caches: keys, values [kv_heads][context][head_stride] in F16 or F32, rotated
/// queries [heads][context][head_stride] in F32. head_stride is head_dim rounded up to 8, the rest
/// is zero.
struct LayerCache {
  void* keys = nullptr;
  void* values = nullptr;
  float* queries = nullptr;
};

struct HeadLayout {
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int head_stride = 0;
  int context = 0;
  bool kv_f32 = false;
};

struct RopeLayout {
  RopePairing pairing = RopePairing::kNone;
  int dim = 0;  ///< rotated dimensions per head
};

/// What some layers' scores need beside the scale.
struct ScoreRules {
  float cap = 0.0F;  ///< scores become cap · tanh(score / cap); 0: none
  int window = 0;    ///< keys that a query sees, its own included; 0: all

  [[nodiscard]] constexpr bool any() const { return cap > 0.0F || window > 0; }
};

// ---- Decode: one token, fused stages
// -------------------------------------------------------------

/// out[t] = embedding row ids[t]; cos_sin[t][dim] = angles of *position + t. One block per token.
Status launch_embed(const Launch& on, const DeviceMatrix& embedding, const std::int32_t* ids, int n,
                    float* out, const double* inv_freq, const std::int32_t* position, int rope_dim,
                    float* cos_sin);

/// normed = rms_norm(x); q, k, v = normed · wᵀ + bias; rotates q, k; appends q, k, v to the caches.
struct QkvStage {
  DeviceMatrix w[3];  ///< q, k, v; one dtype, or any that have planes
  const float* bias[3] = {nullptr, nullptr, nullptr};  ///< null: none
  const float* norm_weight = nullptr;                  ///< [hidden]
  float eps = 0.0F;
  const float* x = nullptr;                     ///< [hidden]
  float* normed = nullptr;                      ///< [hidden]
  float* raw[3] = {nullptr, nullptr, nullptr};  ///< before RoPE
  float* rotated[2] = {nullptr, nullptr};       ///< q, k after it
  const float* cos_sin = nullptr;               ///< [rope_dim]
  RopeLayout rope;
  HeadLayout heads;
  LayerCache cache;
  const StepState* state = nullptr;
};
Status launch_qkv(const Launch& on, const QkvStage& stage);

/// Split-KV attention of one token: every block takes a chunk of keys of one KV head for all query
/// heads that share it; the last block of a KV head combines the parts, always in the same order.
struct AttentionStage {
  HeadLayout heads;
  LayerCache cache;
  const float* q = nullptr;  ///< [heads][head_dim], rotated
  float scale = 1.0F;
  int first_row = 0;            ///< of the layer, in state->rows, which gets the scaled scores
  float* lse = nullptr;         ///< [heads]
  float* out = nullptr;         ///< [heads][head_dim]
  float* parts = nullptr;       ///< attention_parts_floats(…)
  unsigned* arrived = nullptr;  ///< [kv_heads · groups], zero before the first launch, left zero
  int chunk = 64;               ///< keys per block
  int n_splits = 1;             ///< blocks per KV head: chunk · n_splits ≥ kv_len
  const StepState* state = nullptr;
};
std::size_t attention_parts_floats(const HeadLayout& heads, int n_splits);
int attention_groups(const HeadLayout& heads);
Status launch_attention_decode(const Launch& on, const AttentionStage& stage);

/// block = x · wᵀ + bias, out = residual + block.
struct ProjectStage {
  DeviceMatrix w;
  const float* bias = nullptr;
  const float* x = nullptr;         ///< [cols]
  const float* residual = nullptr;  ///< [rows]
  float* block = nullptr;           ///< [rows]
  float* out = nullptr;             ///< [rows]; must not alias residual
};
Status launch_project(const Launch& on, const ProjectStage& stage);

/// normed = rms_norm(x); act = silu(normed · gateᵀ) · (normed · upᵀ).
struct GateUpStage {
  DeviceMatrix gate, up;  ///< of different types: in three launches
  const float* norm_weight = nullptr;
  float eps = 0.0F;
  const float* x = nullptr;
  float* normed = nullptr;
  float* gate_out = nullptr;
  float* up_out = nullptr;
  float* act = nullptr;
};
Status launch_gate_up(const Launch& on, const GateUpStage& stage);

/// normed = rms_norm(x); logits = normed · wᵀ.
struct HeadStage {
  DeviceMatrix w;
  const float* norm_weight = nullptr;
  float eps = 0.0F;
  const float* x = nullptr;
  float* normed = nullptr;
  float* logits = nullptr;
};
Status launch_head(const Launch& on, const HeadStage& stage);

// ---- Capture
// -------------------------------------------------------------------------------------

/// Moments of a piece of a row; pieces of one row are added on the host.
struct RawStats {
  double sum = 0.0;
  double sum_squares = 0.0;
  float absmax = 0.0F;
  std::uint32_t non_finite = 0;
  std::uint32_t zeros = 0;
  std::uint32_t count = 0;
};

/// A row to be summarised: `rows` rows of `width` values, `width` apart.
struct StatsEntry {
  const float* values = nullptr;
  std::int32_t width = 0;
  std::int32_t slot = 0;  ///< out[row · out_stride + slot]
};
/// One block per entry and row: out[row · out_stride + entry.slot].
Status launch_row_stats(const Launch& on, const StatsEntry* entries, int n_entries, int n_rows,
                        RawStats* out, int out_stride);

/// As capture::TapStats.
struct FinishedStats {
  float l2 = 0.0F, absmax = 0.0F, mean = 0.0F;
  std::uint32_t count = 0, non_finite = 0, zeros = 0;
};
/// Columns [0, width) of `n_rows` rows, `stride` apart in both.
Status launch_finish_stats(const Launch& on, const RawStats* raw, int n_rows, int width, int stride,
                           FinishedStats* out);

/// What the attention row of a head shows; as capture::HeadStats.
struct RawHeadStats {
  float row_sum = 0.0F;
  float entropy = 0.0F;
  float max = 0.0F;
  std::int32_t argmax = 0;
  float first = 0.0F;
  float self = 0.0F;
  float lse = 0.0F;
};
/// What drawing needs of every position of the present line; null: nothing is drawn.
struct DrawHistory {
  std::uint8_t* pooled = nullptr;  ///< [context][n_rows][bins], as capture::PooledRows
  float* lse = nullptr;            ///< [context][n_rows], log-sum-exp of the row
  std::uint8_t* kept = nullptr;    ///< [context], 1 where both are there
};
/// Decode: statistics of the probabilities exp(score − lse) of all rows of the step. Puts lse
/// [n_rows] behind state->rows. pooled [n_rows][bins] gets capture::PooledRows' cells, or is null;
/// with a history they go there instead, to the step's position.
Status launch_attention_rows(const Launch& on, const float* lse, int n_rows, const StepState* state,
                             RawHeadStats* stats, std::uint8_t* pooled, int bins,
                             const DrawHistory& history = {});

/// Captured rows [first_row, first_row + count) of `n_keys` keys as probabilities:
/// out[count][n_keys]. `rows` as StepState::rows, with `n_rows` rows.
Status launch_row_probabilities(const Launch& on, const float* rows, int n_rows, int row_stride,
                                int first_row, int count, int n_keys, float* out);

/// Recomputes rows [first, first + n) of one head from the caches with the scores of the decode
/// path: out[i · stride + key].
Status launch_attention_recompute(const Launch& on, const HeadLayout& heads,
                                  const LayerCache& cache, float scale, int head, int first, int n,
                                  float* out, int stride);

/// Part of a distribution, and the whole of it; as capture::LogitSummary, which the host finishes.
struct LogitPart {
  double sum = 0.0, exp_sum = 0.0, exp_weighted = 0.0;
  float min = 0.0F, top = 0.0F, padded = 0.0F;
  std::int32_t top_id = -1, padded_id = -1;
  std::uint32_t n_usable = 0, non_finite = 0;
};
inline constexpr int kTopLogits = 32;
struct RawLogitSummary {
  double sum = 0.0;           ///< Σ logit over usable tokens
  double exp_sum = 0.0;       ///< Σ e^(logit − max)
  double exp_weighted = 0.0;  ///< Σ e^(logit − max) · (logit − max)
  float min = 0.0F, max = 0.0F, best_padded = 0.0F;
  std::int32_t best_padded_id = -1, raw_argmax = -1;
  std::int32_t top_id = -1;  ///< the best usable token; −1: none has a finite logit
  std::uint32_t n_usable = 0, non_finite = 0;
  std::int32_t n_top = 0;  ///< −1: the host has to rank
  std::int32_t ids[kTopLogits] = {};
  float logits[kTopLogits] = {};
};
/// parts [logit_parts(n)]; usable[i] 0: no text produces row i.
int logit_parts(int n);
Status launch_logit_summary(const Launch& on, const float* logits, const std::uint8_t* usable,
                            int n, LogitPart* parts, RawLogitSummary* out);

// ---- The frame of a decode step: begin, choose, publish
// -------------------------------------------

/// Slots of the rings of inputs and results: so many steps can be under way, less one.
inline constexpr int kStepSlots = 4;

/// The first node of a step: state = inputs[step mod kStepSlots] (page-locked host memory); a
/// negative token means the one that the step before chose. history[position] = token.
Status launch_begin_step(const Launch& on, const StepState* inputs, StepState* state,
                         std::int32_t* history);

/// Work space of launch_sample: zero before the first launch, left zero.
struct SampleSpace {
  float* adjusted = nullptr;           ///< [n] logits after the penalty
  unsigned* top = nullptr;             ///< [1]
  unsigned* counts = nullptr;          ///< [kSampleBins]
  unsigned long long* mass = nullptr;  ///< [kSampleBins], at temperature 1
  unsigned long long* heat = nullptr;  ///< [kSampleBins], at the temperature asked for
};
inline constexpr int kSampleBins = 2048;
struct ChosenToken {
  std::int32_t id = -1;    ///< −1: no token has a finite logit
  std::int32_t rank = -1;  ///< among the usable ones; −1 where a penalty changed the order
  float logit = 0.0F;
};
inline constexpr std::int32_t kCannotChoose =
    -2;  ///< too many equal logits; the host has to choose
/// Chooses by state->sampling as session::Sampler does (repeat penalty → top-k → top-p → min-p →
/// temperature → draw). `history` holds the tokens up to state->position.
Status launch_sample(const Launch& on, const float* logits, const std::uint8_t* usable, int n,
                     const std::int32_t* history, const StepState* state, const SampleSpace& space,
                     ChosenToken* chosen);

struct StatsHistory;
struct PublishStage {
  StepState* state = nullptr;
  const std::int32_t* chosen = nullptr;  ///< null: nothing chooses
  const std::byte* results = nullptr;
  std::byte* ring = nullptr;  ///< [kStepSlots][slot_bytes]
  std::size_t bytes = 0;
  std::size_t slot_bytes = 0;
  int n_rows = 0;
  const RawStats* stats = nullptr;  ///< of the step, in `results`; null: nothing was summarised
  int logits_slot = 0;              ///< of `stats`: made of the pieces [first_piece, + n_pieces)
  int first_piece = 0, n_pieces = 0;
  const RawLogitSummary* summary = nullptr;  ///< likewise; null: none
};
/// The last node of a step: state->next = *chosen, and `bytes` of `results` (a multiple of 16) to
/// slot (step − 1) mod kStepSlots of the host's page-locked ring; behind them the probabilities of
/// state->follow_row, if any. With state->keep the position's statistics also go to `history`.
Status launch_publish(const Launch& on, const PublishStage& stage, const StatsHistory& history);

// ---- Prefill: many tokens
// ------------------------------------------------------------------------

/// out[t] = rms_norm(x[t]).
Status launch_rms_norm(const Launch& on, const float* x, const float* weight, int n_rows, int width,
                       float eps, float* out);

/// Finishes products: raw = raw · row_scale + bias (in place), Q and K normalised head by head (in
/// place), rotated, caches appended.
struct AppendStage {
  float* raw[3] = {nullptr, nullptr, nullptr};  ///< [n][width], without bias
  const float* bias[3] = {nullptr, nullptr, nullptr};
  const float* row_scale = nullptr;  ///< [n]; null: 1
  float* rotated[2] = {nullptr, nullptr};
  const float* cos_sin = nullptr;  ///< [n][rope_dim]
  RopeLayout rope;
  HeadLayout heads;
  LayerCache cache;
  int position = 0;
  int n = 0;
  const StepState* state = nullptr;           ///< of a decode step: its position instead
  const float* norm[2] = {nullptr, nullptr};  ///< of Q and K, [head_dim]; null: none
  bool norm_own_head = false;                 ///< every head has weights: [heads][head_dim]
  bool norm_centred = false;                  ///< layer norm, else RMS norm
  float norm_eps = 0.0F;
};
Status launch_append(const Launch& on, const AppendStage& stage);

/// block[t] = block[t] · row_scale[t] + bias; out = residual + block.
Status launch_add_block(const Launch& on, float* block, const float* row_scale, const float* bias,
                        const float* residual, float* out, int n, int width);

/// gate, up scaled in place; act = silu(gate) · up.
Status launch_swiglu(const Launch& on, float* gate, float* up, const float* row_scale, float* act,
                     int n, int width);

/// F16 cache rows [0, keys) of every KV head as F32 [kv_heads][keys][head_stride].
Status launch_cache_to_f32(const Launch& on, const void* cache, const HeadLayout& heads, int keys,
                           float* out);

/// scores[h][t][j] = −∞ for j > first + t (for the full tier's attn_scores).
Status launch_mask(const Launch& on, float* scores, int n_heads, int n, int keys, int first);

/// Where the rows of one token are kept; as StepState::rows. Null: nowhere.
struct RowPlace {
  float* rows = nullptr;
  std::int32_t row_stride = 0;
};
/// What soft-max leaves of every row beside the row itself. Row `row` is first_row + head.
struct SoftmaxCapture {
  RawHeadStats* stats = nullptr;     ///< [n][n_rows], or null: nothing is captured
  const RowPlace* places = nullptr;  ///< [n] scaled scores and log-sum-exp, or null
  std::uint8_t* pooled = nullptr;    ///< [n][n_rows][bins], or null
  int bins = 0;
  int n_rows = 0;
  int first_row = 0;
};
/// Soft-max of rows [heads][n][keys] in place; row t sees keys [0, first + t], the rest becomes 0.
Status launch_softmax(const Launch& on, float* scores, int n_heads, int n, int keys, int first,
                      const SoftmaxCapture& capture);

// ---- Conversions
// ---------------------------------------------------------------------------------

/// File blocks of to.rows whole rows (any alignment, no gaps) to the planes of `to`.
Status launch_repack(const Launch& on, const void* blocks, const DeviceMatrix& to);
/// Rows of a matrix to F32, or to F16 (nearest), `w.stride` apart.
Status launch_dequantize(const Launch& on, const DeviceMatrix& w, float* out);
Status launch_dequantize_f16(const Launch& on, const DeviceMatrix& w, void* out);
/// x[n][width] F32 to F16 rows of `stride`, scaled down by a power of two where a row would
/// overflow; row_scale gets the inverse (1 almost always).
Status launch_to_f16(const Launch& on, const float* x, int n, int width, int stride, void* out,
                     float* row_scale);
/// x as the sum of two BF16 matrices: high + low keeps 16 bits of mantissa.
Status launch_to_bf16_pair(const Launch& on, const float* x, int n, int width, int stride,
                           void* high, void* low);
Status launch_fill(const Launch& on, float* x, std::size_t n, float value);

/// Whether this build holds code for the current device (kDevice if not).
Status check_device_code();

}  // namespace layerscope::kernels::cuda

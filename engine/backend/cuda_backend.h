// CudaBackend: the decoder on one GPU. Float32 activations, weights in their file type, F16 keys
// and values (F32 selectable), float32 rotated queries.
//
// One token runs as a CUDA graph of fused stages; several tokens run as products on cuBLAS with
// kernels between them. Where no fused stage covers what the architecture asks for, plain ones
// stand in its place (cuda_stages.h). Every stage leaves its result where the capture finds it, so
// capturing adds kernels after the stages and never changes what they compute.
//
// Steps can be enqueued ahead of being asked for: the GPU chooses each token and starts the next
// step itself, the host reads results from a ring. What was done ahead and is not asked for is
// discarded.
//
// Owner: the thread that created it; nothing else may call CUDA on its stream.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cuda_memory.h"
#include "engine/backend/cuda_weights.h"
#include "engine/backend/row_arena.h"
#include "engine/base/thread_pool.h"
#include "kernels/cuda/attention_map.h"
#include "kernels/cuda/attention_pairs.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/plain_ops.h"
#include "kernels/cuda/stats_picture.h"

namespace layerscope::backend::cuda {

inline constexpr std::size_t kScoreFloats = std::size_t{64} << 20U;  ///< 256 MiB of prefill scores

/// Results of the stages of one layer, [tokens, width] each; names as in capture/taps.h. Null: the
/// architecture has no such tap.
struct LayerTaps {
  float *attn_norm, *q, *k, *v, *q_rope, *k_rope, *context, *attn_out, *attn_post, *resid_mid;
  float *ffn_norm, *router, *topk, *shares, *gate, *up, *act, *ffn_out, *ffn_post, *resid_out;
  std::int32_t* chosen;  ///< topk as numbers, for the kernels
};

/// Work space in device memory.
struct Work {
  kernels::cuda::StepState* state;  ///< of the token being decoded
  std::int32_t* ids;                ///< [batch]
  std::int32_t* position;           ///< of ids[0]
  float* cos_sin;                   ///< [batch, rope_dim]
  double* inv_freq;                 ///< [rope_dim / 2], of this context
  float* cos_sin_windowed;          ///< likewise, of windowed layers with their own base
  float *zeros, *sink;              ///< [widest]: no residual, an output that nobody reads
  float* expert_out;                ///< [batch, used experts, hidden]
  std::int32_t* expert_order;       ///< prefill: [batch · used experts]
  float *grouped_in, *grouped_out;  ///< prefill: [batch · used experts, hidden or ffn]
  float* embedding;                 ///< [hidden], decode
  float* final_norm;                ///< [batch, hidden]
  float* logits;                    ///< [logit_rows, vocab_rows]
  std::vector<LayerTaps> decode;    ///< per layer, one token
  LayerTaps prefill;                ///< one layer, batch tokens
  float* scores;                    ///< decode: [layers, heads, context] and log-sum-exps
  float* lse;                       ///< decode: [layers, heads]
  float* parts;                     ///< decode: partial sums of the splits
  unsigned* arrived;                ///< decode: [kv_heads · groups]
  std::int32_t* history;            ///< [context], tokens by position
  std::byte* results;               ///< decode: see StepResults
  float* prefill_scores;            ///< [heads, chunk of tokens, keys]
  float *keys_f32, *values_f32;     ///< [kv_heads, keys, head_stride]; F16 cache, no pairs
  std::byte *q_pair, *value_pair;   ///< see PairStage, as the next; null where not taken
  const void** pair_pointers;
  kernels::cuda::RawStats* stats;          ///< prefill: [batch][(layers + 1) · taps]
  kernels::cuda::FinishedStats* finished;  ///< the same, as the host keeps them
  kernels::cuda::RawHeadStats* heads;      ///< prefill: [batch][layers][heads]
  std::uint8_t* pooled;                    ///< prefill: [batch][layers][heads][bins]
  kernels::cuda::RowPlace* places;         ///< prefill: [batch]
  kernels::cuda::StatsEntry* entries;      ///< decode, then prefill per layer, then model-wide
  std::uint8_t* usable;                    ///< [vocab_rows]
  kernels::cuda::LogitPart* logit_parts;
  kernels::cuda::SampleSpace sample;
  kernels::cuda::Gemm::Space gemm;
};

/// Where the results of a step stand in their block; every part is 16-byte aligned.
struct StepResults {
  std::size_t summary = 0;  ///< RawLogitSummary
  std::size_t chosen = 0;   ///< ChosenToken
  std::size_t stats = 0;    ///< RawStats [slots + pieces of the logits]
  std::size_t heads = 0;    ///< RawHeadStats [layers · heads]
  std::size_t pooled = 0;   ///< [layers · heads][bins]
  std::size_t bytes = 0;    ///< what every step sends; a followed row stands behind it
};

/// How a step chooses the next token.
enum class Choosing : std::uint8_t { kNot, kGreedy, kSampling };

/// A step that the GPU has been given and whose results have not been asked for yet.
struct Step {
  std::uint32_t number = 0;  ///< its slot is number mod kStepSlots
  std::int32_t token = -1;   ///< −1: chosen by the step before, not known yet
  int position = 0;
  capture::Tier tier = capture::Tier::kOff;
  Choosing choosing = Choosing::kNot;
  bool eager = false;        ///< kernel by kernel instead of as a graph
  bool again = false;        ///< ForwardRequest::again
  bool only_logits = false;  ///< the last token once more: nothing of it is captured
  Sampling sampling;
  int follow_layer = -1, follow_head = -1;
  std::shared_ptr<const RowArena::Block> rows;
};

class CudaBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> create(std::shared_ptr<const model::Model> model,
                                                 const BackendOptions& options, int context);
  ~CudaBackend() override;

  Status forward(const ForwardRequest& request, std::vector<float>& logits,
                 capture::PassCapture& captured) override;
  bool summarise_logits(const std::vector<bool>& usable) override;
  Status last_logits(std::vector<float>& logits) override;
  void truncate(int length) override;
  Status set_interventions(const model::Interventions& list) override;
  [[nodiscard]] Result<std::unique_ptr<Backend>> fork(int context) const override;
  [[nodiscard]] capture::Rounding rounding() const override;
  [[nodiscard]] bool replays_steps() const override { return faults_ == nullptr; }
  void attention_row(int layer, int head, int position, std::span<float> out) const override;
  bool attention_rows(int layer, int head, int first, int n, std::span<float> out,
                      std::size_t stride, const std::stop_token& stop) const override;
  Status captured_row(const capture::TokenFrame& frame, int layer, int head,
                      std::span<float> out) const override;
  Status inspect(std::int32_t id, int position, const capture::Request& request,
                 const std::stop_token& stop, capture::PassCapture& captured) override;
  Status head_logits(std::span<const float> residual, std::vector<float>& logits) override;
  Result<bool> lens(std::span<const float> residual, std::vector<LensSummary>& rows) override;
  [[nodiscard]] Result<capture::CacheStats> cache_stats() const override;
  Status cache_slot(int layer, int kv_head, int slot, std::vector<float>& key,
                    std::vector<float>& value) const override;
  [[nodiscard]] bool draws() const override;
  Result<bool> draw(const DrawJob& job, DrawSink& sink, const std::stop_token& stop) override;
  [[nodiscard]] std::uint64_t drawn_bytes_to_host() const override;
  [[nodiscard]] DrawCost draw_cost() const override;
  [[nodiscard]] std::uint64_t row_capacity() const override { return arena_->bytes(); }
  [[nodiscard]] std::uint64_t row_bytes(int position) const override;
  [[nodiscard]] int kv_len() const override { return kv_len_; }
  [[nodiscard]] int context() const override { return context_; }
  [[nodiscard]] std::string name() const override { return "cuda"; }
  [[nodiscard]] std::string description() const override { return description_; }
  [[nodiscard]] std::uint64_t cache_bytes() const override;
  [[nodiscard]] int batch_tokens() const override { return batch_; }

 private:
  /// How keys are split over blocks at a given length.
  struct Splits {
    int chunk = 64;
    int n = 1;
  };
  CudaBackend(std::shared_ptr<const model::Model> model, const BackendOptions& options,
              int context);

  struct FaultState;
  class FaultPass;
  class Stages;
  /// Which parts of a layer the fused stages cover; the same for all layers.
  struct Fused {
    bool qkv = false, feed_forward = false, head = false;
    bool qkv_products = false;  ///< norm and products of Q, K, V, if nothing else
    bool residual = false;      ///< a block is added as it is
    [[nodiscard]] bool all() const { return qkv && feed_forward && residual; }
  };

  // cuda_backend.cpp
  Status prepare(const BackendOptions& options, const CudaBackend* like);
  Status place_caches(const BackendOptions& options);
  Result<std::size_t> free_bytes() const;
  [[nodiscard]] std::size_t cache_size() const;
  [[nodiscard]] Work place_work(Planner& planner) const;
  [[nodiscard]] LayerTaps place_taps(Planner& planner, std::size_t tokens) const;
  [[nodiscard]] kernels::cuda::LayerCache layer_cache(int layer) const;
  [[nodiscard]] static Fused fused_parts(const model::Model& model);
  [[nodiscard]] kernels::cuda::RopeLayout rope_of(int layer) const;
  [[nodiscard]] const float* cos_sin(int layer) const;
  Status send_frequencies() const;
  [[nodiscard]] kernels::cuda::ScoreRules rules_of(int layer) const;
  /// Whether decode's fused attention cannot take the layer.
  [[nodiscard]] bool attends_plainly(int layer) const;
  [[nodiscard]] Splits splits_for(int kv_len) const;
  [[nodiscard]] int max_splits() const;

  // cuda_decode.cpp
  Status decode(const ForwardRequest& request, std::vector<float>& logits,
                capture::PassCapture& captured);
  Status enqueue_step(const Splits& splits, capture::Tier tier, Choosing choosing);
  Status enqueue_layer(int layer, const Splits& splits);
  Status enqueue_qkv(int layer, const float* x);
  Status enqueue_attention(int layer, const Splits& splits);
  Result<cudaGraphExec_t> step_graph(const Splits& splits, capture::Tier tier, Choosing choosing);
  [[nodiscard]] Step make_step(const ForwardRequest& request, int position,
                               std::int32_t token) const;
  Status begin_step(Step step);
  [[nodiscard]] bool answers(const Step& step, const ForwardRequest& request) const;
  Status finish_step(const Step& step, const ForwardRequest& request, std::vector<float>& logits,
                     capture::PassCapture& captured);
  [[nodiscard]] StepResults results_layout() const;
  [[nodiscard]] const std::byte* slot(std::uint32_t number) const;

  // cuda_prefill.cpp
  Status prefill(const ForwardRequest& request, std::vector<float>& logits,
                 capture::PassCapture& captured);
  Status prefill_attention_block(int layer, const ForwardRequest& request, const float* x,
                                 capture::PassCapture& captured);
  /// Layers whose statistics and pooled rows travel to the host together, while the GPU computes
  /// the next ones.
  struct Group {
    int first = 0;
    int n = 0;
    std::size_t turn = 0;  ///< which half of the page-locked buffer
  };
  [[nodiscard]] std::size_t layer_bytes() const;
  [[nodiscard]] int group_layers(int n_tokens) const;
  Status send_group(const Group& group, const capture::PassCapture& captured);
  Status take_group(const Group& group, capture::PassCapture& captured);
  Status finish_prefill(capture::PassCapture& captured);
  Status prefill_attend(int layer, const ForwardRequest& request, capture::PassCapture& captured);
  [[nodiscard]] kernels::cuda::PairStage pair_stage(int layer, int begin, int rows,
                                                    int n_keys) const;
  float* full_attention(capture::PassCapture& captured, capture::Tap tap, int layer, int keys,
                        float fill) const;
  Status keep_rows(float* whole, int rows, int n_keys, int stride, int begin, int n,
                   int keys_all) const;
  std::jthread reset_capture(const ForwardRequest& request, capture::PassCapture& captured);
  Status keep_attention(int layer, int begin, int rows, int stride, capture::PassCapture& captured);
  Status keep_attention_whole(int layer, int begin, int rows, int stride,
                              capture::PassCapture& captured) const;
  Status norm_for_product(const float* x, const float* weight, int n,
                          const kernels::cuda::DeviceMatrix& like, float* out);
  Status prefill_ffn_block(int layer, int n);
  Status prefill_logits(const ForwardRequest& request, std::vector<float>& logits,
                        capture::PassCapture& captured);

  // cuda_logits.cpp
  static bool finish_summary(const kernels::cuda::RawLogitSummary& raw,
                             capture::LogitSummary& summary);
  Status deliver_logits(const ForwardRequest& request, std::vector<float>& logits);
  [[nodiscard]] Choosing choosing(const ForwardRequest& request) const;
  [[nodiscard]] static Chosen chosen_of(Choosing how, const kernels::cuda::RawLogitSummary& summary,
                                        const kernels::cuda::ChosenToken& drawn);
  [[nodiscard]] static kernels::cuda::StepSampling step_sampling(const Sampling& sampling,
                                                                 int position);

  // cuda_rows.cpp
  Status place_rows(const BackendOptions& options, std::size_t free);
  [[nodiscard]] int row_stride(int position) const { return (position + 4) / 4 * 4; }
  [[nodiscard]] int n_rows() const { return model_->spec.n_layers * model_->spec.n_heads; }
  [[nodiscard]] float* rows_of(const RowArena::Block* block) const;
  Status place_pass_rows(capture::PassCapture& captured);
  Status keep_decode_rows(capture::PassCapture& captured) const;
  [[nodiscard]] kernels::cuda::SoftmaxCapture softmax_capture(int layer, int begin,
                                                              capture::Tier tier) const;

  // cuda_inspect.cpp
  class Untouched;
  Result<std::size_t> residual_rows(std::span<const float> residual) const;
  Status head_product(std::span<const float> residual);

  // cuda_draw.cpp
  struct Drawing;
  struct WrittenPicture;
  Status start_drawing();
  Status note_kept(bool kept, int position, int n);
  void cut_drawing(int length);
  [[nodiscard]] kernels::cuda::AttentionMapStage map_stage(const MapRect& rect, int first,
                                                           float* cells) const;
  Status draw_atlas(const DrawnFrame& frame, float* out, const WrittenPicture* before);
  Status draw_map(const DrawnFrame& frame, float* out, const WrittenPicture* before);
  Status draw_row(const DrawnFrame& frame, float* out);
  Status enqueue_picture(const DrawnFrame& frame, float* out, bool kept);

  // cuda_draw_stats.cpp
  void place_stats(Planner& planner, kernels::cuda::StatsHistory& history) const;
  Status start_stats(Drawing& drawing) const;
  void note_stats(bool known, int position, int n);
  [[nodiscard]] kernels::cuda::StatsHistory stats_history() const;
  [[nodiscard]] std::vector<capture::Tap> stat_taps() const;
  [[nodiscard]] int stat_column(int layer, capture::Tap tap) const;
  Status keep_prefill_stats(const ForwardRequest& request, bool summarised);
  Status complete_stats(const DrawJob& job, KnownStats& known);
  Status upload_stats(const DrawJob& job, int first, int n);
  Status draw_stats(const DrawnFrame& frame, float* out);

  // cuda_fault_pass.cpp, cuda_fault_weights.cpp
  Status forward_with_faults(const ForwardRequest& request, std::vector<float>& logits,
                             capture::PassCapture& captured);
  void place_fault_space(Planner& planner, FaultState& state) const;

  // cuda_capture.cpp
  Status make_entries();
  Status download(void* to, const void* from, std::size_t bytes) const;
  Status keep_full(capture::PassCapture& captured, capture::Tap tap, int layer,
                   std::vector<std::int64_t> shape, const float* from) const;
  Status keep_layer_taps(capture::PassCapture& captured, int layer, const LayerTaps& taps) const;
  Status keep_decode_taps(capture::PassCapture& captured) const;
  [[nodiscard]] std::size_t stats_slots() const;  ///< of one token
  [[nodiscard]] std::int32_t stats_slot(int layer, capture::Tap tap) const;
  [[nodiscard]] int logit_pieces() const;
  void finish_stats(const kernels::cuda::RawStats* raw, int token, bool pieces,
                    capture::PassCapture& captured) const;

  std::shared_ptr<const model::Model> model_;
  BackendOptions options_;
  int context_;
  bool float32_;
  int batch_;
  int logit_rows_;
  int kv_len_ = 0;
  int written_ = 0;  ///< slots that were ever written: what lies behind kv_len_ is stale
  std::string description_;
  kernels::cuda::HeadLayout heads_;
  kernels::cuda::RopeLayout rope_;
  Fused fused_;
  kernels::cuda::Launch on_;

  Stream stream_;
  DeviceWeights weights_;
  DeviceBuffer cache_memory_, work_memory_;
  std::byte *keys_ = nullptr, *values_ = nullptr;
  float* queries_ = nullptr;
  Work work_{};
  DeviceBuffer row_memory_;
  std::shared_ptr<RowArena> arena_;  ///< of row_memory_
  int bins_ = 0;                     ///< cells of a pooled row
  std::size_t n_decode_entries_ = 0;
  std::size_t n_layer_entries_ = 0;  ///< of one layer, in prefill
  std::unique_ptr<kernels::cuda::Gemm> gemm_;
  bool summarises_ = false;
  mutable ThreadPool pool_;               ///< for copies on the host
  mutable std::vector<float> host_rows_;  ///< attention rows on their way to the capture
  PinnedBuffer bounce_;                   ///< for downloads of any size
  PinnedBuffer groups_;                   ///< two groups of a prefill pass, see Group
  PinnedBuffer step_;                     ///< rings of StepState and of results; logits
  /// By number of splits · chunk, tier, and how the next token is chosen.
  std::map<std::array<int, 3>, GraphExec> graphs_;

  std::array<Event, kernels::cuda::kStepSlots> step_done_;
  std::deque<Step> steps_;        ///< under way or finished, oldest first
  std::uint32_t next_step_ = 0;   ///< number of the next one
  int logits_position_ = -1;      ///< whose logits stand in work_.logits
  std::int32_t last_token_ = -1;  ///< at kv_len_ − 1
  std::vector<std::shared_ptr<const RowArena::Block>> pass_rows_;  ///< of a prefill pass, by token
  std::vector<capture::PooledRows> pass_pooled_;
  Stream copy_stream_;
  std::array<Event, 2> group_ready_, group_copied_;  ///< by Group::turn

  std::unique_ptr<Drawing> drawing_;    ///< null: pooled rows go to the host
  std::uint64_t drawn_bytes_ = 0;       ///< pooled and followed rows that went to the host
  bool looking_ = false;                ///< inspecting: nothing new is drawn
  std::unique_ptr<FaultState> faults_;  ///< null: nothing is done wrong, the fast path runs
};

}  // namespace layerscope::backend::cuda

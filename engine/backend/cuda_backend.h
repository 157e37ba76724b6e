// CudaBackend: the decoder on one GPU. Float32 activations, weights in their file type, F16 keys
// and values (F32 selectable), float32 rotated queries.
//
// One token runs as a CUDA graph of fused stages; several tokens run as products on cuBLAS with
// kernels between them. Every stage leaves its result where the capture finds it, so capturing
// adds kernels after the stages and never changes what they compute.
//
// Owner: the thread that created it; nothing else may call CUDA on its stream.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cuda_memory.h"
#include "engine/backend/cuda_weights.h"
#include "engine/base/thread_pool.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/ops.h"

namespace layerscope::backend::cuda {

inline constexpr std::size_t kScoreFloats = std::size_t{64} << 20U;  ///< 256 MiB of prefill scores

/// Results of the stages of one layer, [tokens, width] each; names as in capture/taps.h.
struct LayerTaps {
  float *attn_norm, *q, *k, *v, *q_rope, *k_rope, *context, *attn_out, *resid_mid;
  float *ffn_norm, *gate, *up, *act, *ffn_out, *resid_out;
};

/// Work space in device memory.
struct Work {
  kernels::cuda::StepState* state;     ///< of the token being decoded
  std::int32_t* ids;                   ///< [batch]
  std::int32_t* position;              ///< of ids[0]
  float* cos_sin;                      ///< [batch, rope_dim]
  float* embedding;                    ///< [hidden], decode
  float* final_norm;                   ///< [batch, hidden]
  float* logits;                       ///< [logit_rows, vocab_rows]
  std::vector<LayerTaps> decode;       ///< per layer, one token
  LayerTaps prefill;                   ///< one layer, batch tokens
  float* scores;                       ///< decode: [layers, heads, context]
  float* lse;                          ///< decode: [layers, heads]
  float* probs;                        ///< decode: [layers, heads, kv_len]
  float* parts;                        ///< decode: partial sums of the splits
  unsigned* arrived;                   ///< decode: [kv_heads · groups]
  float* row;                          ///< [context], one recomputed row
  float* prefill_scores;               ///< [heads, chunk of tokens, keys]
  float *keys_f32, *values_f32;        ///< [kv_heads, keys, head_stride], with an F16 cache
  kernels::cuda::RawStats* stats;      ///< [batch][(layers + 1) · taps], or decode: + logit pieces
  kernels::cuda::RawHeadStats* heads;  ///< [batch][layers][heads]
  kernels::cuda::StatsEntry* entries;  ///< decode, then prefill per layer, then model-wide
  std::uint8_t* usable;                ///< [vocab_rows]
  kernels::cuda::LogitPart* logit_parts;
  kernels::cuda::RawLogitSummary* logit_summary;
  kernels::cuda::Gemm::Space gemm;
};

class CudaBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> create(std::shared_ptr<const model::Model> model,
                                                 const BackendOptions& options, int context);
  ~CudaBackend() override;

  Status forward(const ForwardRequest& request, std::vector<float>& logits,
                 capture::PassCapture& captured) override;
  bool summarise_logits(const std::vector<bool>& usable) override;
  Status last_logits(std::vector<float>& logits) const override;
  void truncate(int length) override;
  Status set_interventions(const model::Interventions& list) override;
  [[nodiscard]] Result<std::unique_ptr<Backend>> fork(int context) const override;
  [[nodiscard]] capture::Rounding rounding() const override;
  [[nodiscard]] bool replays_steps() const override { return faults_ == nullptr; }
  void attention_row(int layer, int head, int position, std::span<float> out) const override;
  [[nodiscard]] int kv_len() const override { return kv_len_; }
  [[nodiscard]] int context() const override { return context_; }
  [[nodiscard]] std::string name() const override { return "cuda"; }
  [[nodiscard]] std::string description() const override { return description_; }
  [[nodiscard]] std::uint64_t cache_bytes() const override {
    return cache_memory_.bytes() + work_memory_.bytes();
  }
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

  // cuda_backend.cpp
  Status prepare(const BackendOptions& options, const CudaBackend* like);
  Status place_caches(const BackendOptions& options);
  Result<std::size_t> free_bytes() const;
  [[nodiscard]] std::size_t cache_size() const;
  [[nodiscard]] Work place_work(Planner& planner) const;
  [[nodiscard]] LayerTaps place_taps(Planner& planner, std::size_t tokens) const;
  [[nodiscard]] kernels::cuda::LayerCache layer_cache(int layer) const;
  [[nodiscard]] Splits splits_for(int kv_len) const;
  [[nodiscard]] int max_splits() const;

  // cuda_decode.cpp
  Status decode(const ForwardRequest& request, std::vector<float>& logits,
                capture::PassCapture& captured);
  Status enqueue_step(const Splits& splits, capture::Tier tier);
  Status enqueue_layer(int layer, const Splits& splits);
  Result<cudaGraphExec_t> step_graph(const Splits& splits, capture::Tier tier);

  // cuda_prefill.cpp
  Status prefill(const ForwardRequest& request, std::vector<float>& logits,
                 capture::PassCapture& captured);
  Status prefill_attention_block(int layer, const ForwardRequest& request, const float* x,
                                 capture::PassCapture& captured);
  Status prefill_attend(int layer, const ForwardRequest& request, capture::PassCapture& captured);
  float* full_attention(capture::PassCapture& captured, capture::Tap tap, int layer, int keys,
                        float fill) const;
  Status keep_rows(float* whole, int rows, int n_keys, int begin, int n, int keys_all) const;
  void reset_capture(const ForwardRequest& request, capture::PassCapture& captured);
  Status keep_attention(int layer, int begin, int rows, int n_keys, capture::PassCapture& captured);
  Status keep_attention_whole(int layer, int begin, int rows, int n_keys,
                              capture::PassCapture& captured) const;
  Status prefill_ffn_block(int layer, int n);
  Status prefill_logits(const ForwardRequest& request, std::vector<float>& logits,
                        capture::PassCapture& captured);

  // cuda_logits.cpp
  bool finish_summary(const kernels::cuda::RawLogitSummary& raw,
                      capture::LogitSummary& summary) const;
  Status deliver_logits(const ForwardRequest& request, std::vector<float>& logits) const;

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
  std::string description_;
  kernels::cuda::HeadLayout heads_;
  kernels::cuda::RopeLayout rope_;
  kernels::cuda::Launch on_;

  Stream stream_;
  DeviceWeights weights_;
  DeviceBuffer cache_memory_, work_memory_;
  std::byte *keys_ = nullptr, *values_ = nullptr;
  float* queries_ = nullptr;
  Work work_{};
  std::size_t n_decode_entries_ = 0;
  std::size_t n_layer_entries_ = 0;  ///< of one layer, in prefill
  std::unique_ptr<kernels::cuda::Gemm> gemm_;
  bool summarises_ = false;
  mutable ThreadPool pool_;               ///< for copies on the host
  mutable std::vector<float> host_rows_;  ///< attention rows on their way to the capture
  PinnedBuffer bounce_;                   ///< for downloads of any size
  PinnedBuffer step_;                     ///< StepState, logits, statistics of a decode step
  std::map<std::pair<int, int>, GraphExec> graphs_;  ///< by number of splits · chunk, and tier
  std::unique_ptr<FaultState> faults_;  ///< null: nothing is done wrong, the fast path runs
};

}  // namespace layerscope::backend::cuda

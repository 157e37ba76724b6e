// CpuBackend: the decoder on the CPU, float32 activations, weights in their file type.
//
// It is the default where no GPU is usable, and the float32 oracle of other backends.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/kv_cache.h"
#include "engine/base/thread_pool.h"
#include "kernels/ops.h"

namespace layerscope::backend {

class CpuBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> create(std::shared_ptr<const model::Model> model,
                                                 int threads, int context);

  Status forward(const ForwardRequest& request, std::vector<float>& logits,
                 capture::PassCapture& captured) override;
  void truncate(int length) override;
  Status set_interventions(const model::Interventions& list) override;
  [[nodiscard]] Result<std::unique_ptr<Backend>> fork(int context) const override {
    return create(model_, pool_.size(), context);
  }
  void attention_row(int layer, int head, int position, std::span<float> out) const override;
  Status inspect(std::int32_t id, int position, const capture::Request& request,
                 const std::stop_token& stop, capture::PassCapture& captured) override;
  Status head_logits(std::span<const float> residual, std::vector<float>& logits) override;
  [[nodiscard]] Result<capture::CacheStats> cache_stats() const override;
  Status cache_slot(int layer, int kv_head, int slot, std::vector<float>& key,
                    std::vector<float>& value) const override;
  [[nodiscard]] int kv_len() const override { return kv_len_; }
  [[nodiscard]] int context() const override { return context_; }
  [[nodiscard]] std::string name() const override { return "cpu"; }
  [[nodiscard]] std::string description() const override;
  /// Large enough to reuse each converted weight, small enough that cancelling and progress stay
  /// quick (a pass polls its stop token once per layer).
  [[nodiscard]] int batch_tokens() const override { return 64; }
  [[nodiscard]] std::uint64_t cache_bytes() const override { return cache_.bytes(); }

 private:
  CpuBackend(std::shared_ptr<const model::Model> model, KvCache cache, int threads, int context);

  /// Activations of one pass, row-major, one row per token.
  struct Buffers {
    std::vector<float> residual;  ///< [tokens, hidden]
    std::vector<float> normed;    ///< [tokens, hidden]
    std::vector<float> q;         ///< [tokens, heads · head_dim]
    std::vector<float> k, v;      ///< [tokens, kv_heads · head_dim]
    std::vector<float> context;   ///< [tokens, heads · head_dim]
    std::vector<float> block;     ///< [tokens, hidden], what a block adds
    std::vector<float> entered;   ///< [tokens, hidden], the stream that entered a parallel layer
    std::vector<float> gate, up;  ///< [tokens, ffn] or [tokens, used experts, ffn]
    std::vector<float> act;       ///< likewise
    std::vector<float> probs;     ///< [heads, context], where rows are not captured
    std::vector<float> cos_sin;   ///< [tokens, rope_dim]
    std::vector<float> cos_sin_windowed;  ///< likewise, of windowed layers with their own base
    std::vector<float> router;            ///< [tokens, experts]
    std::vector<std::int32_t> chosen;     ///< [tokens, used experts]
    std::vector<float> shares;            ///< [tokens, used experts]
    std::vector<float> expert_out;        ///< [hidden]
  };
  class Pass;
  class FaultPass;

  /// Keys, values, scale, cap and window of one head for the query at `position`.
  [[nodiscard]] kernels::AttentionHead attention_of(int layer, int head, int position) const;

  std::shared_ptr<const model::Model> model_;
  KvCache cache_;
  ThreadPool pool_;
  int context_;
  int kv_len_ = 0;
  int written_ = 0;  ///< Slots that were ever written: what lies behind kv_len_ is stale.
  Buffers buffers_;

  std::shared_ptr<const model::Model> computed_;  ///< model_, or its edited copy
  model::Interventions faults_;                   ///< what the forward pass does wrong
  int stuck_slot_ = -1;                           ///< of kKvStuck; −1: not decoding yet
};

}  // namespace layerscope::backend

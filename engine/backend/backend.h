// Backend: runs the decoder of a model, on the CPU or on a GPU.
//
// Owner: the thread that created it (the session's worker). Only `forward` is long; it polls its
// stop token between layers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/backend/draw.h"
#include "engine/backend/sampling.h"
#include "engine/base/result.h"
#include "engine/capture/cache_stats.h"
#include "engine/capture/frame.h"
#include "engine/capture/rounding.h"
#include "engine/model/interventions.h"
#include "engine/model/model.h"

namespace layerscope::backend {

/// A row of the logit lens.
struct LensSummary {
  capture::LogitSummary summary;
  float final_logit = 0.0F;      ///< of the token that the last row puts first
  std::int32_t final_rank = -1;  ///< its place here, over all rows of the head; −1: there is none
};

/// A token that a backend chose.
struct Chosen {
  std::int32_t id = -1;    ///< negative: the caller has to choose
  std::int32_t rank = -1;  ///< in the distribution; −1: not known
  float logit = 0.0F;
};

/// Replaces the residual stream before a layer: to see whether the rest is right.
struct Splice {
  int layer = 0;                    ///< its input
  std::span<const float> residual;  ///< [tokens of the pass, hidden]
};

struct ForwardRequest {
  std::span<const std::int32_t> ids;  ///< at least one
  int position = 0;                   ///< of ids[0]; must equal kv_len()
  bool all_logits = false;            ///< logits of every token instead of the last one
  capture::Request capture;
  std::stop_token stop;
  /// A backend that replays recorded steps (`replays_steps`) launches this one kernel by kernel
  /// instead: the same bits, for checks that a recording is not stale.
  bool eager = false;
  /// Where to put the distribution after the last token, if the backend summarises (see
  /// `summarise_logits`) and all_logits is off. Then the logits stay where they are and `logits`
  /// comes back empty; `last_logits` fetches them. Should it not have summarised after all,
  /// `logits` is filled as usual.
  capture::LogitSummary* summary = nullptr;
  /// How the token after the last one will be chosen, for backends that choose it themselves: they
  /// put it into `*chosen`. Needs `summary`.
  const Sampling* sampling = nullptr;
  Chosen* chosen = nullptr;
  /// So many of the chosen tokens will be asked for next if nothing intervenes: a backend may
  /// evaluate them ahead. A pass that asks for something else discards what was done ahead.
  int ahead = 0;
  /// Only the CPU backend splices; others refuse (kUsage).
  std::span<const Splice> splices = {};
  /// The positions were evaluated before, and what was captured of them then stands.
  bool again = false;
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// Evaluates the tokens and appends them to the KV cache. `logits` becomes [1 or n, vocab_rows].
  /// `captured` is reset and filled according to the request. Capturing never changes a logit.
  /// Errors: kInvalidInput (an id outside the embedding, context full), kCancelled (the cache then
  /// still ends before `position`).
  virtual Status forward(const ForwardRequest& request, std::vector<float>& logits,
                         capture::PassCapture& captured) = 0;

  /// Tells which rows of the vocabulary text can produce. True: the backend summarises
  /// distributions itself when a request asks for it.
  virtual bool summarise_logits(const std::vector<bool>& /*usable*/) { return false; }

  /// The logits after the last token of the latest pass, if its `logits` came back empty.
  virtual Status last_logits(std::vector<float>& /*logits*/) {
    return internal_error("this backend keeps no logits");
  }

  /// Forgets positions ≥ `length`.
  virtual void truncate(int length) = 0;

  /// Recomputes the attention row of query `position` of one head from the Q and K caches:
  /// `position + 1` probabilities.
  virtual void attention_row(int layer, int head, int position, std::span<float> out) const = 0;

  /// Evaluates token `id` at `position` < kv_len() once more, against the cache before it, for the
  /// sake of what it captures. The cache is afterwards as it was, bit for bit. Errors (kUsage):
  /// this backend cannot do it; kInvalidInput, kCancelled as `forward`.
  virtual Status inspect(std::int32_t id, int position, const capture::Request& request,
                         const std::stop_token& stop, capture::PassCapture& captured);

  /// Final norm and output head of any residual rows [n, hidden]: `logits` becomes
  /// [n, vocab_rows]. Error (kUsage): this backend cannot do it.
  virtual Status head_logits(std::span<const float> residual, std::vector<float>& logits);

  /// The same product, but only what the logit lens shows of its rows leaves the device. False:
  /// this backend does not summarise (see `summarise_logits`); `head_logits` then has the rows.
  virtual Result<bool> lens(std::span<const float> /*residual*/,
                            std::vector<LensSummary>& /*rows*/) {
    return false;
  }

  /// What the cache holds, every slot that was ever written. Error (kUsage): this backend cannot
  /// read its cache out.
  [[nodiscard]] virtual Result<capture::CacheStats> cache_stats() const;
  /// The rotated key and the value in one slot, head_dim values each. Errors (kUsage): out of
  /// range, or as above.
  virtual Status cache_slot(int layer, int kv_head, int slot, std::vector<float>& key,
                            std::vector<float>& value) const;

  /// The same for queries [first, first + n): out[i · stride + k], keys after the query untouched.
  /// False when `stop` ended it before it was complete.
  virtual bool attention_rows(int layer, int head, int first, int n, std::span<float> out,
                              std::size_t stride, const std::stop_token& stop) const;

  /// The row of one head as it was captured with `frame`, wherever it is kept: `position + 1`
  /// probabilities. Errors (kUsage): it was not captured, or no longer kept.
  virtual Status captured_row(const capture::TokenFrame& frame, int layer, int head,
                              std::span<float> out) const;

  /// Whether pictures are made where the rows are (BackendOptions::draw): then pooled rows do not
  /// come to the host, and `draw` also makes thumbnails.
  [[nodiscard]] virtual bool draws() const { return false; }
  /// Makes what the job's request wants of the positions evaluated so far and publishes it. False:
  /// there was no place for it, or the picture before is not finished; nothing waits. On the host
  /// it takes as long as it takes: errors kCancelled (`stop`); kUsage where the rows are elsewhere
  /// (faults in force); kDevice.
  virtual Result<bool> draw(const DrawJob& job, DrawSink& sink, const std::stop_token& stop);
  /// Bytes that went to the host only to be drawn, since the beginning.
  [[nodiscard]] virtual std::uint64_t drawn_bytes_to_host() const { return 0; }
  /// What the pictures that are finished took on the GPU, beside the steps.
  [[nodiscard]] virtual DrawCost draw_cost() const { return {}; }

  /// Memory for captured rows, where the backend keeps them; 0 when they go to the host.
  [[nodiscard]] virtual std::uint64_t row_capacity() const { return 0; }
  /// What the rows of one token take there.
  [[nodiscard]] virtual std::uint64_t row_bytes(int /*position*/) const { return 0; }

  /// What the following passes do wrong on purpose (kinds that the model or the forward pass obeys;
  /// others are ignored). An empty list restores the path without faults, bit for bit. Errors
  /// (kUsage): a kind that this backend does not implement, or that does not fit the model; the
  /// previous list then stays.
  virtual Status set_interventions(const model::Interventions& list);

  [[nodiscard]] virtual int kv_len() const = 0;
  [[nodiscard]] virtual int context() const = 0;
  [[nodiscard]] virtual std::string name() const = 0;         ///< "cpu"
  [[nodiscard]] virtual std::string description() const = 0;  ///< "CPU · 2 threads"
  /// How passes as they are now (faults in force or not) round. Checks derive their tolerances from
  /// it.
  [[nodiscard]] virtual capture::Rounding rounding() const { return {}; }
  /// True when steps are recorded once and replayed: `ForwardRequest::eager` then takes another
  /// path.
  [[nodiscard]] virtual bool replays_steps() const { return false; }
  /// Another backend of the same kind and model with empty caches of `context` slots and no
  /// interventions; weights are shared. Error (kDevice): no memory for a second cache, or none of
  /// this kind can be had.
  [[nodiscard]] virtual Result<std::unique_ptr<Backend>> fork(int context) const;
  /// The most tokens that one pass takes (the best number for a long prompt, too).
  [[nodiscard]] virtual int batch_tokens() const = 0;
  /// Bytes of the caches and of work space (weights not counted).
  [[nodiscard]] virtual std::uint64_t cache_bytes() const = 0;
};

struct BackendOptions {
  std::string kind = "auto";  ///< auto, cpu, cuda
  int threads = 0;            ///< 0 = all
  int context = 0;            ///< slots; 0 = min(the model's, 4,096)
  int gpu = 0;                ///< which GPU
  /// CUDA: keys, values and products of many tokens in float32 throughout (slower, twice the
  /// cache).
  bool float32 = false;
  /// CUDA, compute capability ≥ 9.0: kernels of a decode step may start while the one before
  /// drains. The results are the same bits; the switch is there to show that.
  bool overlap = true;
  /// CUDA: bytes of GPU memory for captured attention rows; 0: what the context needs, at most half
  /// of what is free.
  std::uint64_t row_memory = 0;
  /// CUDA: keep what drawing needs of every position on the GPU (`Backend::draws`): pooled rows and
  /// log-sum-exps, 22 KB (0.5B) to 52 KB (8B) a token.
  bool draw = false;
  std::function<void(double)> progress = {};  ///< upload of the weights, 0…1
  std::stop_token stop = {};                  ///< of the upload
};

/// A device as `devices` lists it.
struct DeviceInfo {
  std::string backend;
  std::string name;
  bool usable = false;
  std::string reason;  ///< why not, or why it would be chosen
};
std::vector<DeviceInfo> list_devices(int threads);

/// After a device error: gives up what the failed device still holds, so that a model can be loaded
/// again. Every backend on it must be gone.
Status recover_device(int gpu);

/// Starts what a GPU needs before its first use (0.1 to 0.3 s) on another thread, to run beside the
/// reading of the model file. Does nothing where `options` will not use one. Wait for it before
/// `create_backend`.
std::jthread warm_up(const BackendOptions& options);

/// Creates a backend for `model`. Errors: kUsage (unknown kind), kDevice (not available, too little
/// memory for the context: the sentence has the numbers).
Result<std::unique_ptr<Backend>> create_backend(std::shared_ptr<const model::Model> model,
                                                const BackendOptions& options);

}  // namespace layerscope::backend

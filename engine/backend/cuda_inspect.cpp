// CudaBackend: looking without touching — one token evaluated again, the head applied to any
// residual, and what stands in the key and value cache.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/backend/cuda_backend.h"
#include "engine/backend/cuda_fault_pass.h"
#include "engine/backend/cuda_stages.h"
#include "engine/backend/size.h"
#include "engine/base/half.h"
#include "kernels/cuda/inspect.h"

namespace layerscope::backend::cuda {

/// What an inspection overwrites, kept in device memory until it is put back.
class CudaBackend::Untouched {
 public:
  explicit Untouched(CudaBackend& backend) : self_(backend) {}

  /// Slots of all caches, the token history there, and the logits.
  Status keep(std::vector<int> slots) {
    slots_ = std::move(slots);
    const std::size_t per_slot = copy_slot(0, nullptr, true).value();
    const std::size_t logits = size(self_.model_->spec.vocab_rows) * sizeof(float);
    LS_TRY(memory_,
           DeviceBuffer::create(slots_.size() * (per_slot + sizeof(std::int32_t)) + logits));
    return copy(true);
  }
  Status put_back() {
    LS_CHECK(copy(false));
    LS_CUDA(cudaStreamSynchronize(self_.on_.stream));
    return {};
  }

 private:
  Status move(void* there, std::size_t pitch, std::byte*& here, std::size_t width, std::size_t rows,
              bool save) {
    LS_CUDA(cudaMemcpy2DAsync(save ? here : there, save ? width : pitch, save ? there : here,
                              save ? pitch : width, width, rows, cudaMemcpyDeviceToDevice,
                              self_.on_.stream));
    here += width * rows;
    return {};
  }
  /// One slot of keys, values and queries of every layer and head; with null only its size.
  Result<std::size_t> copy_slot(int slot, std::byte* here, bool save) {
    const model::DecoderSpec& spec = self_.model_->spec;
    const std::size_t element = self_.float32_ ? sizeof(float) : 2;
    const std::size_t stride = size(self_.heads_.head_stride);
    const std::size_t kv_rows = size(spec.n_layers) * size(spec.n_kv_heads);
    const std::size_t q_rows = size(spec.n_layers) * size(spec.n_heads);
    if (here != nullptr) {
      const std::size_t width = stride * element;
      for (std::byte* cache : {self_.keys_, self_.values_}) {
        LS_CHECK(move(cache + size(slot) * width, size(self_.context_) * width, here, width,
                      kv_rows, save));
      }
      LS_CHECK(move(self_.queries_ + size(slot) * stride,
                    size(self_.context_) * stride * sizeof(float), here, stride * sizeof(float),
                    q_rows, save));
    }
    return stride * (2 * kv_rows * element + q_rows * sizeof(float));
  }
  Status copy(bool save) {
    auto* here = static_cast<std::byte*>(memory_.data());
    for (const int slot : slots_) {
      LS_TRY(const std::size_t bytes, copy_slot(slot, here, save));
      here += bytes;
      LS_CHECK(move(self_.work_.history + slot, sizeof(std::int32_t), here, sizeof(std::int32_t), 1,
                    save));
    }
    const std::size_t logits = size(self_.model_->spec.vocab_rows) * sizeof(float);
    return move(self_.work_.logits, logits, here, logits, 1, save);
  }

  CudaBackend& self_;
  std::vector<int> slots_;
  DeviceBuffer memory_;
};

Status CudaBackend::inspect(std::int32_t id, int position, const capture::Request& request,
                            const std::stop_token& stop, capture::PassCapture& captured) {
  if (position < 0 || position >= kv_len_) {
    return usage_error(
        fmt::format("position {} is not in the cache: it holds {} tokens", position, kv_len_));
  }
  steps_.clear();
  // Faults may write the slot behind, or the one that decoding is stuck at.
  const int stuck = faults_ != nullptr ? faults_->stuck_slot : -1;
  std::vector<int> slots{position};
  for (const int other : {position + 1, stuck}) {
    if (other >= 0 && other < context_ && other != position) {
      slots.push_back(other);
    }
  }
  Untouched kept(*this);
  LS_CHECK(kept.keep(std::move(slots)));
  const int kv_len = kv_len_;
  const int written = written_;
  const int logits_position = logits_position_;
  const std::int32_t last_token = last_token_;
  kv_len_ = position;
  ForwardRequest again;
  again.ids = std::span(&id, 1);
  again.position = position;
  again.capture = request;
  again.stop = stop;
  std::vector<float> logits;
  looking_ = true;  // the history of what is drawn has this token already
  Status status = forward(again, logits, captured);
  looking_ = false;
  steps_.clear();
  kv_len_ = kv_len;
  written_ = written;
  logits_position_ = logits_position;
  last_token_ = last_token;
  if (faults_ != nullptr) {
    faults_->stuck_slot = stuck;
  }
  LS_CHECK(kept.put_back());
  return status;
}

Result<std::size_t> CudaBackend::residual_rows(std::span<const float> residual) const {
  const std::size_t hidden = size(model_->spec.hidden);
  const std::size_t rows = residual.size() / hidden;
  if (rows == 0 || residual.size() != rows * hidden) {
    return internal_error(fmt::format("{} values are no rows of {}", residual.size(), hidden));
  }
  return rows;
}

/// Final norm and head of at most logit_rows_ residuals, as a pass of several tokens computes them:
/// logits into work_.logits.
Status CudaBackend::head_product(std::span<const float> residual) {
  const model::Model& model = faults_ != nullptr ? *faults_->computed : *model_;
  const model::DecoderSpec& spec = model.spec;
  const int rows = static_cast<int>(residual.size() / size(spec.hidden));
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  const DeviceWeights* const edited = faults_ != nullptr ? &faults_->weights : nullptr;
  const DeviceWeights& weights = edited != nullptr ? *edited : weights_;
  float* const x = work_.prefill.resid_out;
  LS_CUDA(cudaMemcpyAsync(x, residual.data(), residual.size_bytes(), cudaMemcpyHostToDevice,
                          on.stream));
  Stages ends(*this, weights, spec, work_.prefill, rows, Stages::Products::kBatch, on);
  LS_CHECK(ends.final_norm(x, rows, work_.final_norm));
  return ends.logits(work_.final_norm, rows, work_.logits);
}

Status CudaBackend::head_logits(std::span<const float> residual, std::vector<float>& logits) {
  const std::size_t hidden = size(model_->spec.hidden);
  const std::size_t vocab = size(model_->spec.vocab_rows);
  LS_TRY(const std::size_t rows, residual_rows(residual));
  Untouched kept(*this);
  LS_CHECK(kept.keep({}));
  logits.resize(rows * vocab);
  for (std::size_t begin = 0; begin < rows; begin += size(logit_rows_)) {
    const std::size_t n = std::min(rows - begin, size(logit_rows_));
    LS_CHECK(head_product(residual.subspan(begin * hidden, n * hidden)));
    LS_CHECK(download(logits.data() + begin * vocab, work_.logits, n * vocab * sizeof(float)));
  }
  return kept.put_back();
}

/// The last rows first: theirs is the token that all the others are asked about.
Result<bool> CudaBackend::lens(std::span<const float> residual, std::vector<LensSummary>& rows) {
  using kernels::cuda::RawLogitSummary;
  using kernels::cuda::TokenRank;
  if (!summarises_) {
    return false;
  }
  const std::size_t hidden = size(model_->spec.hidden);
  const std::size_t vocab = size(model_->spec.vocab_rows);
  LS_TRY(const std::size_t n, residual_rows(residual));
  Untouched kept(*this);
  LS_CHECK(kept.keep({}));
  LS_TRY(const DeviceBuffer memory,
         DeviceBuffer::create(n * (sizeof(RawLogitSummary) + sizeof(TokenRank))));
  // Padding comes to the host, too.
  LS_CUDA(cudaMemsetAsync(memory.data(), 0, memory.bytes(), on_.stream));
  auto* const d_raw = static_cast<RawLogitSummary*>(memory.data());
  auto* const d_ranks = reinterpret_cast<TokenRank*>(d_raw + n);
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  for (std::size_t end = n; end > 0;) {
    const std::size_t begin = (end - 1) / size(logit_rows_) * size(logit_rows_);
    const std::size_t count = end - begin;
    LS_CHECK(head_product(residual.subspan(begin * hidden, count * hidden)));
    for (std::size_t r = 0; r < count; ++r) {
      LS_CHECK(launch_logit_summary(on, work_.logits + r * vocab, work_.usable,
                                    model_->spec.vocab_rows, work_.logit_parts, d_raw + begin + r));
    }
    LS_CHECK(launch_token_ranks(on, work_.logits, static_cast<int>(count), model_->spec.vocab_rows,
                                &d_raw[n - 1].top_id, d_ranks + begin));
    end = begin;
  }
  std::vector<RawLogitSummary> raw(n);
  std::vector<TokenRank> ranks(n);
  LS_CHECK(download(raw.data(), d_raw, n * sizeof(RawLogitSummary)));
  LS_CHECK(download(ranks.data(), d_ranks, n * sizeof(TokenRank)));
  LS_CHECK(kept.put_back());
  rows.assign(n, {});
  for (std::size_t r = 0; r < n; ++r) {
    if (!finish_summary(raw[r], rows[r].summary)) {
      return false;
    }
    rows[r].final_logit = ranks[r].logit;
    rows[r].final_rank = ranks[r].rank;
  }
  return true;
}

Result<capture::CacheStats> CudaBackend::cache_stats() const {
  const model::DecoderSpec& spec = model_->spec;
  capture::CacheStats stats;
  stats.n_layers = spec.n_layers;
  stats.n_kv_heads = spec.n_kv_heads;
  stats.head_dim = spec.head_dim;
  stats.context = context_;
  stats.kv_len = kv_len_;
  stats.n_slots = written_;
  using kernels::cuda::RawSlotStats;
  static_assert(sizeof(RawSlotStats) == sizeof(capture::SlotStats) &&
                offsetof(RawSlotStats, non_finite) == offsetof(capture::SlotStats, non_finite) &&
                offsetof(RawSlotStats, zero) == offsetof(capture::SlotStats, zero));
  const std::size_t per_layer = size(spec.n_kv_heads) * size(written_);
  stats.slots.resize(size(spec.n_layers) * per_layer);
  LS_TRY(const DeviceBuffer memory,
         DeviceBuffer::create(stats.slots.size() * sizeof(RawSlotStats)));
  LS_CUDA(cudaMemsetAsync(memory.data(), 0, memory.bytes(), on_.stream));  // its padding
  auto* const slots = static_cast<RawSlotStats*>(memory.data());
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    LS_CHECK(launch_slot_stats({on_.stream, on_.sm_count, false}, heads_, layer_cache(layer),
                               written_, slots + size(layer) * per_layer));
  }
  LS_CHECK(download(stats.slots.data(), slots, stats.slots.size() * sizeof(RawSlotStats)));
  return stats;
}

Status CudaBackend::cache_slot(int layer, int kv_head, int slot, std::vector<float>& key,
                               std::vector<float>& value) const {
  const model::DecoderSpec& spec = model_->spec;
  if (layer < 0 || layer >= spec.n_layers || kv_head < 0 || kv_head >= spec.n_kv_heads ||
      slot < 0 || slot >= context_) {
    return usage_error(
        fmt::format("the cache has no slot {} of head {} in layer {}", slot, kv_head, layer));
  }
  const kernels::cuda::LayerCache cache = layer_cache(layer);
  const std::size_t n = size(spec.head_dim);
  const std::size_t at = (size(kv_head) * size(context_) + size(slot)) * size(heads_.head_stride);
  const auto fetch = [&](const void* from, std::vector<float>& to) -> Status {
    to.resize(n);
    if (float32_) {
      return download(to.data(), static_cast<const float*>(from) + at, n * sizeof(float));
    }
    std::vector<std::uint16_t> half(n);
    LS_CHECK(download(half.data(), static_cast<const std::uint16_t*>(from) + at,
                      n * sizeof(std::uint16_t)));
    std::transform(half.begin(), half.end(), to.begin(), f16_to_f32);
    return {};
  };
  LS_CHECK(fetch(cache.keys, key));
  return fetch(cache.values, value);
}

}  // namespace layerscope::backend::cuda

// CpuBackend: looking without touching — one token evaluated again, the head applied to any
// residual, and what stands in the key and value cache.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/backend/cpu_backend.h"
#include "engine/backend/cpu_pass.h"

namespace layerscope::backend {
namespace {

/// Copies of some slots of every layer and head, written back on destruction.
class SlotGuard {
 public:
  SlotGuard(const KvCache& cache, const model::DecoderSpec& spec, std::vector<int> slots)
      : cache_(cache), spec_(spec), slots_(std::move(slots)) {
    each([this](float* values, std::size_t n) { saved_.insert(saved_.end(), values, values + n); });
  }
  ~SlotGuard() {
    std::size_t at = 0;
    each([this, &at](float* values, std::size_t n) {
      std::memcpy(values, saved_.data() + at, n * sizeof(float));
      at += n;
    });
  }
  SlotGuard(const SlotGuard&) = delete;
  SlotGuard& operator=(const SlotGuard&) = delete;

 private:
  template <typename Visit>
  void each(Visit visit) const {
    const auto n = static_cast<std::size_t>(spec_.head_dim);
    for (const int slot : slots_) {
      for (int layer = 0; layer < spec_.n_layers; ++layer) {
        for (int h = 0; h < spec_.n_kv_heads; ++h) {
          visit(cache_.key(layer, h, slot), n);
          visit(cache_.value(layer, h, slot), n);
        }
        for (int h = 0; h < spec_.n_heads; ++h) {
          visit(cache_.query(layer, h, slot), n);
        }
      }
    }
  }

  const KvCache& cache_;
  const model::DecoderSpec& spec_;
  std::vector<int> slots_;
  std::vector<float> saved_;
};

void add_values(const float* values, std::size_t n, float& l2, capture::SlotStats& stats) {
  double squares = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    const float v = values[i];
    if (!std::isfinite(v)) {
      stats.non_finite = static_cast<std::uint16_t>(std::min(stats.non_finite + 1, 0xFFFF));
      stats.zero = false;
      continue;
    }
    stats.zero = stats.zero && v == 0.0F;
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  l2 = static_cast<float>(std::sqrt(squares));
}

}  // namespace

Status CpuBackend::inspect(std::int32_t id, int position, const capture::Request& request,
                           const std::stop_token& stop, capture::PassCapture& captured) {
  if (position < 0 || position >= kv_len_) {
    return usage_error(
        fmt::format("position {} is not in the cache: it holds {} tokens", position, kv_len_));
  }
  // Faults may write the slot behind, or the one that decoding is stuck at.
  std::vector<int> slots{position};
  for (const int other : {position + 1, stuck_slot_}) {
    if (other >= 0 && other < context_ && other != position) {
      slots.push_back(other);
    }
  }
  const SlotGuard guard(cache_, model_->spec, std::move(slots));
  const int kv_len = kv_len_;
  const int written = written_;
  const int stuck = stuck_slot_;
  kv_len_ = position;
  ForwardRequest again;
  again.ids = std::span(&id, 1);
  again.position = position;
  again.capture = request;
  again.stop = stop;
  std::vector<float> logits;
  Status status = forward(again, logits, captured);
  kv_len_ = kv_len;
  written_ = written;
  stuck_slot_ = stuck;
  return status;
}

Status CpuBackend::head_logits(std::span<const float> residual, std::vector<float>& logits) {
  const model::DecoderSpec& spec = computed_->spec;
  const auto hidden = static_cast<std::size_t>(spec.hidden);
  const std::size_t rows = residual.size() / hidden;
  if (rows == 0 || residual.size() != rows * hidden) {
    return internal_error(fmt::format("{} values are no rows of {}", residual.size(), hidden));
  }
  // The pass's own last stage, so that whatever it does for an architecture holds here too.
  const std::vector<std::int32_t> ids(rows);
  ForwardRequest request;
  request.ids = ids;
  request.all_logits = true;
  capture::PassCapture unused;
  Pass(*this, request, unused).head(residual, logits);
  return {};
}

Result<capture::CacheStats> CpuBackend::cache_stats() const {
  const model::DecoderSpec& spec = model_->spec;
  capture::CacheStats stats;
  stats.n_layers = spec.n_layers;
  stats.n_kv_heads = spec.n_kv_heads;
  stats.head_dim = spec.head_dim;
  stats.context = context_;
  stats.kv_len = kv_len_;
  stats.n_slots = written_;
  const auto n = static_cast<std::size_t>(spec.head_dim);
  stats.slots.reserve(static_cast<std::size_t>(spec.n_layers) *
                      static_cast<std::size_t>(spec.n_kv_heads) *
                      static_cast<std::size_t>(written_));
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    for (int head = 0; head < spec.n_kv_heads; ++head) {
      for (int slot = 0; slot < written_; ++slot) {
        capture::SlotStats& entry = stats.slots.emplace_back();
        add_values(cache_.key(layer, head, slot), n, entry.k_l2, entry);
        add_values(cache_.value(layer, head, slot), n, entry.v_l2, entry);
      }
    }
  }
  return stats;
}

Status CpuBackend::cache_slot(int layer, int kv_head, int slot, std::vector<float>& key,
                              std::vector<float>& value) const {
  const model::DecoderSpec& spec = model_->spec;
  if (layer < 0 || layer >= spec.n_layers || kv_head < 0 || kv_head >= spec.n_kv_heads ||
      slot < 0 || slot >= context_) {
    return usage_error(
        fmt::format("the cache has no slot {} of head {} in layer {}", slot, kv_head, layer));
  }
  const float* k = cache_.key(layer, kv_head, slot);
  const float* v = cache_.value(layer, kv_head, slot);
  key.assign(k, k + spec.head_dim);
  value.assign(v, v + spec.head_dim);
  return {};
}

}  // namespace layerscope::backend

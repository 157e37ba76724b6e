#include "engine/backend/kv_cache.h"

#include <fmt/format.h>

#include "engine/base/memory.h"

namespace layerscope::backend {

Result<KvCache> KvCache::create(const model::DecoderSpec& spec, int context) {
  KvCache cache;
  cache.context_ = static_cast<std::size_t>(context);
  cache.head_dim_ = static_cast<std::size_t>(spec.head_dim);
  cache.n_heads_ = spec.n_heads;
  cache.n_kv_heads_ = spec.n_kv_heads;
  const std::size_t per_head =
      static_cast<std::size_t>(spec.n_layers) * cache.context_ * cache.head_dim_;
  const std::size_t kv = per_head * static_cast<std::size_t>(spec.n_kv_heads);
  const std::size_t q = per_head * static_cast<std::size_t>(spec.n_heads);
  cache.bytes_ = (2 * kv + q) * sizeof(float);
  const auto allocate = [](std::size_t n) {
    return Buffer(static_cast<float*>(std::calloc(n, sizeof(float))));  // NOLINT: lazy zero pages
  };
  const std::uint64_t physical = usable_memory();
  if (physical == 0 || cache.bytes_ <= physical) {
    cache.keys_ = allocate(kv);
    cache.values_ = allocate(kv);
    cache.queries_ = allocate(q);
  }
  if (!cache.keys_ || !cache.values_ || !cache.queries_) {
    return device_error(
        fmt::format("a context of {} tokens needs {:.1f} GiB of key, value and query "
                    "cache, but the machine has {:.1f} GiB; choose a smaller --context",
                    context, static_cast<double>(cache.bytes_) / (1U << 30U),
                    static_cast<double>(physical) / (1U << 30U)));
  }
  return cache;
}

}  // namespace layerscope::backend

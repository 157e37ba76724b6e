// KvCache: rotated keys, values and rotated queries of every position, float32.
//
// Layout [layer][head][slot][head_dim]: the slots of one head are contiguous, as attention reads
// them. Queries are kept beside keys so that any attention row can be recomputed later. The memory
// comes zeroed from calloc, so pages of slots that were never written take no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "engine/base/result.h"
#include "engine/model/decoder_spec.h"

namespace layerscope::backend {

class KvCache {
 public:
  /// Error (kDevice): the memory cannot be had; the sentence says how much was asked for.
  static Result<KvCache> create(const model::DecoderSpec& spec, int context);

  [[nodiscard]] float* key(int layer, int kv_head, int slot) const {
    return keys_.get() + index(layer, n_kv_heads_, kv_head, slot);
  }
  [[nodiscard]] float* value(int layer, int kv_head, int slot) const {
    return values_.get() + index(layer, n_kv_heads_, kv_head, slot);
  }
  [[nodiscard]] float* query(int layer, int head, int slot) const {
    return queries_.get() + index(layer, n_heads_, head, slot);
  }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }  // NOLINT: memory of calloc
  };
  using Buffer = std::unique_ptr<float[], Free>;

  [[nodiscard]] std::size_t index(int layer, int heads, int head, int slot) const {
    const auto block = static_cast<std::size_t>(layer) * static_cast<std::size_t>(heads) +
                       static_cast<std::size_t>(head);
    return (block * context_ + static_cast<std::size_t>(slot)) * head_dim_;
  }

  Buffer keys_, values_, queries_;
  std::size_t context_ = 0, head_dim_ = 0;
  int n_heads_ = 0, n_kv_heads_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace layerscope::backend

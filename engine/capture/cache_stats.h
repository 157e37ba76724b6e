// CacheStats: what stands in a key and value cache, slot by slot. Plain data, filled by a backend
// on the worker thread, shared with the window as shared_ptr<const …>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace layerscope::capture {

/// One slot of one KV head. Non-finite values are counted and left out of the norms.
struct SlotStats {
  float k_l2 = 0.0F;  ///< Euclidean norm of the rotated key
  float v_l2 = 0.0F;
  std::uint16_t non_finite = 0;  ///< NaN and ±Inf in key and value together
  bool zero = true;              ///< every element of key and value is exactly 0
};

struct CacheStats {
  int n_layers = 0, n_kv_heads = 0, head_dim = 0;
  int context = 0;               ///< slots that the cache has
  int kv_len = 0;                ///< slots that attention reads
  int n_slots = 0;               ///< slots listed: all that were ever written
  std::vector<SlotStats> slots;  ///< [n_layers][n_kv_heads][n_slots]

  [[nodiscard]] const SlotStats& at(int layer, int head, int slot) const {
    return slots[(static_cast<std::size_t>(layer) * static_cast<std::size_t>(n_kv_heads) +
                  static_cast<std::size_t>(head)) *
                     static_cast<std::size_t>(n_slots) +
                 static_cast<std::size_t>(slot)];
  }
};

}  // namespace layerscope::capture

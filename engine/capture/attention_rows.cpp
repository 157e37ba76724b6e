#include "engine/capture/attention_rows.h"

#include <limits>

namespace layerscope::capture {

float PooledRows::root_of(std::uint8_t cell) {
  return cell == kNotANumber ? std::numeric_limits<float>::quiet_NaN()
                             : static_cast<float>(cell) / 254.0F;
}

int pooled_bins(int n_layers, int n_heads) {
  const long total = static_cast<long>(n_layers) * n_heads;
  // 512 · 64² = 2.1 million cells of a whole map, 1024 · 48² = 2.4, 4096 · 32² = 4.2.
  if (total <= 512) {
    return 64;
  }
  return total <= 1024 ? 48 : (total <= 4096 ? 32 : 16);
}

int pooled_width(int n_keys, int bins) {
  int width = 1;
  while (n_keys > bins * width) {
    width *= 2;
  }
  return width;
}

std::span<const float> AttentionRows::row(int layer, int head, int n_heads,
                                          std::size_t n_keys) const {
  if (layer == followed_layer_ && head == followed_head_ && followed_.size() == n_keys) {
    return followed_;
  }
  const std::size_t index = static_cast<std::size_t>(layer) * static_cast<std::size_t>(n_heads) +
                            static_cast<std::size_t>(head);
  if (layer < 0 || head < 0 || head >= n_heads || (index + 1) * n_keys > values_.size()) {
    return {};
  }
  if (!layers_.empty() && (static_cast<std::size_t>(layer) >= layers_.size() ||
                           !layers_[static_cast<std::size_t>(layer)])) {
    return {};
  }
  return std::span<const float>(values_).subspan(index * n_keys, n_keys);
}

}  // namespace layerscope::capture

#include "engine/capture/frame.h"

#include <cmath>

#include "kernels/ops.h"

namespace layerscope::capture {

void PassCapture::reset(const Request& wanted, int position, int tokens, int layers,
                        int n_attention_heads, bool rows_on_host) {
  request = wanted;
  first_position = position;
  n_tokens = tokens;
  n_layers = layers;
  n_heads = n_attention_heads;
  taps.clear();
  heads.clear();
  attention.clear();
  kept.clear();
  tensors.clear();
  if (wanted.tier == Tier::kOff) {
    return;
  }
  const auto n = static_cast<std::size_t>(tokens);
  taps.resize(n * static_cast<std::size_t>(layers + 1) * kNumTaps);
  heads.resize(n * static_cast<std::size_t>(layers) * static_cast<std::size_t>(n_attention_heads));
  if (wanted.tier >= Tier::kAttention && rows_on_host) {
    attention.resize(n);
    for (std::size_t t = 0; t < n; ++t) {
      attention[t].resize(static_cast<std::size_t>(layers) *
                          static_cast<std::size_t>(n_attention_heads) *
                          (static_cast<std::size_t>(position) + t + 1));
    }
  }
}

TapStats compute_stats(const float* values, std::size_t n) {
  const kernels::RowStats row = kernels::row_stats(values, n);
  TapStats stats;
  const std::size_t finite = n - row.non_finite;
  stats.l2 = static_cast<float>(std::sqrt(row.sum_squares));
  stats.absmax = row.absmax;
  stats.mean = finite > 0 ? static_cast<float>(row.sum / static_cast<double>(finite)) : 0.0F;
  stats.count = static_cast<std::uint32_t>(n);
  stats.non_finite = row.non_finite;
  stats.zeros = row.zeros;
  return stats;
}

std::span<const float> TokenFrame::attention_row(int layer, int h) const {
  return attention == nullptr
             ? std::span<const float>()
             : attention->row(layer, h, n_heads, static_cast<std::size_t>(position) + 1);
}

}  // namespace layerscope::capture

#include "engine/format/tensor_stats.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace layerscope::format {
namespace {

constexpr std::uint64_t kPiece = 1U << 20U;  ///< elements, a multiple of every block size

template <typename Visit>
Status for_each_value(const TensorInfo& tensor, const Visit& visit) {
  for (std::uint64_t first = 0; first < tensor.n_elements; first += kPiece) {
    LS_TRY(const std::vector<float> values,
           decode_values(tensor, first, std::min(kPiece, tensor.n_elements - first)));
    for (const float value : values) {
      visit(value);
    }
  }
  return {};
}

}  // namespace

Result<TensorStats> tensor_stats(const TensorInfo& tensor) {
  TensorStats stats;
  double sum = 0.0;
  double squares = 0.0;
  stats.min = std::numeric_limits<double>::infinity();
  stats.max = -std::numeric_limits<double>::infinity();
  LS_CHECK(for_each_value(tensor, [&](float value) {
    if (!std::isfinite(value)) {
      ++(std::isnan(value) ? stats.nans : stats.infs);
      return;
    }
    ++stats.count;
    stats.zeros += value == 0.0F ? 1U : 0U;
    stats.subnormals += std::fpclassify(value) == FP_SUBNORMAL ? 1U : 0U;
    const auto v = static_cast<double>(value);
    sum += v;
    squares += v * v;
    stats.min = std::min(stats.min, v);
    stats.max = std::max(stats.max, v);
  }));
  if (stats.count == 0) {
    stats.min = stats.max = 0.0;
    return stats;
  }
  const auto n = static_cast<double>(stats.count);
  stats.mean = sum / n;
  stats.std = std::sqrt(std::max(0.0, squares / n - stats.mean * stats.mean));
  stats.l2 = std::sqrt(squares);
  const double width = stats.max - stats.min;
  LS_CHECK(for_each_value(tensor, [&](float value) {
    if (std::isfinite(value)) {
      const double part = width > 0.0 ? (static_cast<double>(value) - stats.min) / width : 0.0;
      const auto bin = static_cast<std::size_t>(part * kHistogramBins);
      ++stats.histogram[std::min(bin, kHistogramBins - 1)];
    }
  }));
  return stats;
}

}  // namespace layerscope::format

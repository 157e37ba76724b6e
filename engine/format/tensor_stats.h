// Statistics of a stored tensor: moments, special values, histogram. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>

#include "engine/base/result.h"
#include "engine/format/model_file.h"

namespace layerscope::format {

inline constexpr std::size_t kHistogramBins = 24;

struct TensorStats {
  double min = 0.0, max = 0.0, mean = 0.0, std = 0.0, l2 = 0.0;  ///< over finite values
  std::uint64_t count = 0, nans = 0, infs = 0, zeros = 0, subnormals = 0;
  std::array<std::uint64_t, kHistogramBins> histogram{};  ///< finite values, bins of [min, max]
};

/// Decodes the tensor twice in pieces (range, then histogram): memory stays bounded for any size.
/// Error (kInvalidInput): its type cannot be decoded yet.
Result<TensorStats> tensor_stats(const TensorInfo& tensor);

}  // namespace layerscope::format

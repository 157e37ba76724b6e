// RMS norm and layer norm of one row. A decode step normalises 2·layers + 1 rows of `hidden`
// floats: the scalar loop with four float64 partial sums is below 1 % of a step, so there is no
// vector version.
#include <cmath>

#include "kernels/ops.h"

namespace layerscope::kernels {

void rms_norm(const float* x, const float* weight, std::size_t n, float eps, float* out) {
  double partial[4] = {0.0, 0.0, 0.0, 0.0};
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) {
      const double value = x[i + lane];
      partial[lane] += value * value;
    }
  }
  for (; i < n; ++i) {
    partial[0] += static_cast<double>(x[i]) * x[i];
  }
  const double mean = (partial[0] + partial[1] + partial[2] + partial[3]) / static_cast<double>(n);
  const auto scale = static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(eps)));
  for (i = 0; i < n; ++i) {
    out[i] = x[i] * scale * weight[i];
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, std::size_t n, float eps,
                float* out) {
  double sums[4] = {0.0, 0.0, 0.0, 0.0};
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) {
      sums[lane] += static_cast<double>(x[i + lane]);
    }
  }
  for (; i < n; ++i) {
    sums[0] += static_cast<double>(x[i]);
  }
  const double mean = (sums[0] + sums[1] + sums[2] + sums[3]) / static_cast<double>(n);
  double squares[4] = {0.0, 0.0, 0.0, 0.0};
  for (i = 0; i + 4 <= n; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) {
      const double d = static_cast<double>(x[i + lane]) - mean;
      squares[lane] += d * d;
    }
  }
  for (; i < n; ++i) {
    const double d = static_cast<double>(x[i]) - mean;
    squares[0] += d * d;
  }
  const double variance =
      (squares[0] + squares[1] + squares[2] + squares[3]) / static_cast<double>(n);
  const double scale = 1.0 / std::sqrt(variance + static_cast<double>(eps));
  for (i = 0; i < n; ++i) {
    const auto normed = static_cast<float>((static_cast<double>(x[i]) - mean) * scale);
    out[i] = normed * weight[i] + (bias != nullptr ? bias[i] : 0.0F);
  }
}

}  // namespace layerscope::kernels

// Plain versions of the operations: one loop each, reviewed first, used as the oracle in tests.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ops.h"

namespace layerscope::kernels::reference {

void matmul(const Product& product, const float* x, std::size_t n_tokens, std::size_t cols) {
  std::vector<float> row(cols);
  for (std::size_t r = 0; r < product.w.rows; ++r) {
    dequantize_row(product.w.dtype, product.w.row(r), cols, row.data());
    for (std::size_t t = 0; t < n_tokens; ++t) {
      double sum = product.bias != nullptr ? product.bias[r] : 0.0;
      for (std::size_t c = 0; c < cols; ++c) {
        sum += static_cast<double>(row[c]) * x[t * cols + c];
      }
      product.out[t * product.out_stride + r] = static_cast<float>(sum);
    }
  }
}

void rms_norm(const float* x, const float* weight, std::size_t n, float eps, float* out) {
  double squares = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    squares += static_cast<double>(x[i]) * x[i];
  }
  const double scale = 1.0 / std::sqrt(squares / static_cast<double>(n) + eps);
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(x[i] * scale * weight[i]);
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, std::size_t n, float eps,
                float* out) {
  double mean = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    mean += static_cast<double>(x[i]) / static_cast<double>(n);
  }
  double variance = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
  }
  const double scale = 1.0 / std::sqrt(variance + eps);
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>((x[i] - mean) * scale * weight[i] +
                                (bias != nullptr ? static_cast<double>(bias[i]) : 0.0));
  }
}

void activate(Activation kind, const float* gate, const float* up, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const double x = gate[i];
    double y = x / (1.0 + std::exp(-x));
    if (kind == Activation::kGeluTanh) {
      constexpr double kRootTwoOverPi = 0.7978845608028654;
      y = 0.5 * x * (1.0 + std::tanh(kRootTwoOverPi * (x + 0.044715 * x * x * x)));
    } else if (kind == Activation::kGelu) {
      constexpr double kRootHalf = 0.7071067811865476;
      y = 0.5 * x * (1.0 + std::erf(x * kRootHalf));
    }
    out[i] = static_cast<float>(up != nullptr ? y * up[i] : y);
  }
}

void swiglu(const float* gate, const float* up, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const double g = gate[i];
    out[i] = static_cast<float>(g / (1.0 + std::exp(-g)) * up[i]);
  }
}

void attention_head(const AttentionHead& head, AttentionSummary* summary) {
  std::vector<double> score(head.kv_len);
  double top = -INFINITY;
  for (std::size_t j = 0; j < head.kv_len; ++j) {
    if (j < head.first_key) {
      score[j] = -INFINITY;
      continue;
    }
    double dot = 0.0;
    for (std::size_t d = 0; d < head.head_dim; ++d) {
      dot += static_cast<double>(head.q[d]) * head.k[j * head.head_dim + d];
    }
    score[j] = dot * head.scale;
    if (head.soft_cap > 0.0F) {
      score[j] = head.soft_cap * std::tanh(score[j] / head.soft_cap);
    }
    top = std::max(top, score[j]);
  }
  double sum = 0.0;
  for (const double s : score) {
    sum += std::exp(s - top);
  }
  AttentionSummary result;
  double entropy = 0.0;
  double row_sum = 0.0;
  for (std::size_t j = 0; j < head.kv_len; ++j) {
    const double p = std::exp(score[j] - top) / sum;
    head.probs[j] = static_cast<float>(p);
    if (head.scores != nullptr) {
      head.scores[j] = static_cast<float>(score[j]);
    }
    row_sum += p;
    entropy -= p > 0.0 ? p * std::log(p) : 0.0;
    if (static_cast<float>(p) > result.max) {
      result.max = static_cast<float>(p);
      result.argmax = static_cast<std::int32_t>(j);
    }
  }
  if (head.out != nullptr) {
    for (std::size_t d = 0; d < head.head_dim; ++d) {
      double value = 0.0;
      for (std::size_t j = 0; j < head.kv_len; ++j) {
        value += std::exp(score[j] - top) / sum * head.v[j * head.head_dim + d];
      }
      head.out[d] = static_cast<float>(value);
    }
  }
  if (summary != nullptr) {
    result.row_sum = static_cast<float>(row_sum);
    result.entropy = static_cast<float>(entropy);
    result.lse = static_cast<float>(top + std::log(sum));
    *summary = result;
  }
}

RowStats row_stats(const float* x, std::size_t n) {
  RowStats stats;
  for (std::size_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) {
      ++stats.non_finite;
      continue;
    }
    stats.sum += x[i];
    stats.sum_squares += static_cast<double>(x[i]) * x[i];
    stats.absmax = std::max(stats.absmax, std::fabs(x[i]));
    stats.zeros += x[i] == 0.0F ? 1U : 0U;
  }
  return stats;
}

}  // namespace layerscope::kernels::reference

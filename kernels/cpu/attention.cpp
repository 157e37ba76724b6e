// One query head over the cached keys and values.
//
// Three passes: scores (dot products), soft-max with the maximum subtracted, weighted sum of the
// values. The probabilities are written to the caller's row in any case, so capturing them is a
// matter of where the row lives and changes no result. The summary reads the finished row once
// more.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include "hwy/foreach_target.h"  // NOLINT: must come before highway.h
#include "hwy/highway.h"
// clang-format off
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace layerscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE float dot(const float* a, const float* b, std::size_t n) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  auto acc = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    acc = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), acc);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, acc));
  for (; i < n; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

struct SoftmaxSums {
  double total = 0.0;     ///< Σ e^(s − shift)
  double weighted = 0.0;  ///< Σ e^(s − shift) · (s − shift)
};

/// x[i] = exp(x[i] − shift). Float32 partial sums over at most kSpan values per lane, then float64.
HWY_INLINE SoftmaxSums exp_and_sum(float* x, std::size_t n, float shift) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto offset = hn::Set(d, shift);
  constexpr std::size_t kSpan = 64;
  std::size_t i = 0;
  SoftmaxSums sums;
  while (i + lanes <= n) {
    auto total = hn::Zero(d);
    auto weighted = hn::Zero(d);
    for (std::size_t k = 0; k < kSpan && i + lanes <= n; ++k, i += lanes) {
      const auto shifted = hn::Sub(hn::LoadU(d, x + i), offset);
      const auto e = hn::Exp(d, shifted);
      hn::StoreU(e, d, x + i);
      total = hn::Add(total, e);
      weighted = hn::MulAdd(e, shifted, weighted);
    }
    sums.total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, total)));
    sums.weighted += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, weighted)));
  }
  for (; i < n; ++i) {
    const float shifted = x[i] - shift;
    x[i] = std::exp(shifted);
    sums.total += static_cast<double>(x[i]);
    sums.weighted += static_cast<double>(x[i] * shifted);
  }
  return sums;
}

void attention_row(const AttentionHead& head, AttentionSummary* summary) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t n = head.kv_len;
  const std::size_t first = head.first_key;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float top = -kInfinity;
  std::size_t best = first;
  std::fill(head.probs, head.probs + first, -kInfinity);
  for (std::size_t j = first; j < n; ++j) {
    float score = dot(head.q, head.k + j * head.head_dim, head.head_dim) * head.scale;
    if (head.soft_cap > 0.0F) {
      score = head.soft_cap * std::tanh(score / head.soft_cap);
    }
    head.probs[j] = score;
    if (score > top) {
      top = score;
      best = j;
    }
  }
  if (head.scores != nullptr) {
    std::copy(head.probs, head.probs + n, head.scores);
  }
  std::fill(head.probs, head.probs + first, 0.0F);
  const SoftmaxSums exps = exp_and_sum(head.probs + first, n - first, top);
  const auto inverse = static_cast<float>(1.0 / exps.total);
  for (std::size_t j = first; j < n; ++j) {
    head.probs[j] *= inverse;
  }
  if (head.out != nullptr) {
    std::size_t i = 0;
    for (; i + lanes <= head.head_dim; i += lanes) {
      auto acc = hn::Zero(d);
      for (std::size_t j = first; j < n; ++j) {
        acc = hn::MulAdd(hn::Set(d, head.probs[j]), hn::LoadU(d, head.v + j * head.head_dim + i),
                         acc);
      }
      hn::StoreU(acc, d, head.out + i);
    }
    for (; i < head.head_dim; ++i) {
      float acc = 0.0F;
      for (std::size_t j = first; j < n; ++j) {
        acc += head.probs[j] * head.v[j * head.head_dim + i];
      }
      head.out[i] = acc;
    }
  }
  if (summary == nullptr) {
    return;
  }
  // H = −Σ p·ln p = ln Σe − Σ e·(s − top) / Σe: no logarithm per key. The row's sum is taken from
  // the finished probabilities, so that a wrong soft-max shows.
  auto sums = hn::Zero(d);
  std::size_t j = 0;
  for (; j + lanes <= n; j += lanes) {
    sums = hn::Add(sums, hn::LoadU(d, head.probs + j));
  }
  double row_sum = static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sums)));
  for (; j < n; ++j) {
    row_sum += static_cast<double>(head.probs[j]);
  }
  const double log_total = std::log(exps.total);
  summary->row_sum = static_cast<float>(row_sum);
  summary->entropy = static_cast<float>(log_total - exps.weighted / exps.total);
  summary->max = head.probs[best];
  summary->argmax = static_cast<std::int32_t>(best);
  summary->lse = top + static_cast<float>(log_total);
}

}  // namespace layerscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace layerscope::kernels {
namespace {
HWY_EXPORT(attention_row);
}  // namespace

void attention_head(const AttentionHead& head, AttentionSummary* summary) {
  HWY_DYNAMIC_DISPATCH(attention_row)(head, summary);
}

}  // namespace layerscope::kernels
#endif  // HWY_ONCE

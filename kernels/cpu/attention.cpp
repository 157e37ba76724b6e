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

/// x[i] = exp(x[i] − shift); returns the sum in float64.
HWY_INLINE double exp_and_sum(float* x, std::size_t n, float shift) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto offset = hn::Set(d, shift);
  std::size_t i = 0;
  double total = 0.0;
  for (; i + lanes <= n; i += lanes) {
    const auto e = hn::Exp(d, hn::Sub(hn::LoadU(d, x + i), offset));
    hn::StoreU(e, d, x + i);
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, e)));
  }
  for (; i < n; ++i) {
    x[i] = std::exp(x[i] - shift);
    total += static_cast<double>(x[i]);
  }
  return total;
}

void attention_row(const AttentionHead& head, AttentionSummary* summary) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t n = head.kv_len;
  float top = -std::numeric_limits<float>::infinity();
  for (std::size_t j = 0; j < n; ++j) {
    const float score = dot(head.q, head.k + j * head.head_dim, head.head_dim) * head.scale;
    head.probs[j] = score;
    top = score > top ? score : top;
  }
  if (head.scores != nullptr) {
    std::copy(head.probs, head.probs + n, head.scores);
  }
  const double sum = exp_and_sum(head.probs, n, top);
  const auto inverse = static_cast<float>(1.0 / sum);
  for (std::size_t j = 0; j < n; ++j) {
    head.probs[j] *= inverse;
  }
  if (head.out != nullptr) {
    std::size_t i = 0;
    for (; i + lanes <= head.head_dim; i += lanes) {
      auto acc = hn::Zero(d);
      for (std::size_t j = 0; j < n; ++j) {
        acc = hn::MulAdd(hn::Set(d, head.probs[j]), hn::LoadU(d, head.v + j * head.head_dim + i),
                         acc);
      }
      hn::StoreU(acc, d, head.out + i);
    }
    for (; i < head.head_dim; ++i) {
      float acc = 0.0F;
      for (std::size_t j = 0; j < n; ++j) {
        acc += head.probs[j] * head.v[j * head.head_dim + i];
      }
      head.out[i] = acc;
    }
  }
  if (summary == nullptr) {
    return;
  }
  // H = −Σ p·ln p, from the row itself, so that a wrong soft-max shows. Probabilities below the
  // smallest normal float count with that float's logarithm: at most 1e-36 each.
  auto sums = hn::Zero(d);
  auto plogp = hn::Zero(d);
  std::size_t j = 0;
  const auto tiny = hn::Set(d, std::numeric_limits<float>::min());
  for (; j + lanes <= n; j += lanes) {
    const auto p = hn::LoadU(d, head.probs + j);
    sums = hn::Add(sums, p);
    plogp = hn::MulAdd(p, hn::Log(d, hn::Max(p, tiny)), plogp);
  }
  double row_sum = static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sums)));
  double entropy = -static_cast<double>(hn::GetLane(hn::SumOfLanes(d, plogp)));
  for (; j < n; ++j) {
    const double p = static_cast<double>(head.probs[j]);
    row_sum += p;
    entropy -= p > 0.0 ? p * std::log(p) : 0.0;
  }
  const float* best = std::max_element(head.probs, head.probs + n);
  summary->row_sum = static_cast<float>(row_sum);
  summary->entropy = static_cast<float>(entropy);
  summary->max = *best;
  summary->argmax = static_cast<std::int32_t>(best - head.probs);
  summary->lse = top + static_cast<float>(std::log(sum));
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

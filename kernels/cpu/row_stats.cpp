// Moments of a row: the summary tier runs this over every tap of every token, so it is vectorised
// (10 taps × layers × hidden values per token are about 1 % of the multiply-adds of a decode step).
#include <algorithm>
#include <cmath>

#include "kernels/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_stats.cpp"
#include "hwy/foreach_target.h"  // NOLINT: must come before highway.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace layerscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

RowStats row_stats_simd(const float* x, std::size_t n) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  // Float32 partial sums over at most kSpan values per lane, then float64.
  constexpr std::size_t kSpan = 64;
  RowStats stats;
  const auto zero = hn::Zero(d);
  const auto limit = hn::Set(d, std::numeric_limits<float>::max());
  auto top = zero;
  std::size_t i = 0;
  while (i + lanes <= n) {
    auto sum = zero;
    auto squares = zero;
    for (std::size_t k = 0; k < kSpan && i + lanes <= n; ++k, i += lanes) {
      const auto v = hn::LoadU(d, x + i);
      const auto finite = hn::Le(hn::Abs(v), limit);  // false for NaN and ±Inf
      const auto value = hn::IfThenElseZero(finite, v);
      stats.non_finite += static_cast<std::uint32_t>(lanes - hn::CountTrue(d, finite));
      stats.zeros += static_cast<std::uint32_t>(hn::CountTrue(d, hn::Eq(v, zero)));
      sum = hn::Add(sum, value);
      squares = hn::MulAdd(value, value, squares);
      top = hn::Max(top, hn::Abs(value));
    }
    stats.sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
    stats.sum_squares += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, squares)));
  }
  stats.absmax = hn::GetLane(hn::MaxOfLanes(d, top));
  for (; i < n; ++i) {
    if (!std::isfinite(x[i])) {
      ++stats.non_finite;
      continue;
    }
    stats.sum += static_cast<double>(x[i]);
    stats.sum_squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    stats.absmax = std::max(stats.absmax, std::fabs(x[i]));
    stats.zeros += x[i] == 0.0F ? 1U : 0U;
  }
  return stats;
}

}  // namespace layerscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace layerscope::kernels {
namespace {
HWY_EXPORT(row_stats_simd);
}  // namespace

RowStats row_stats(const float* x, std::size_t n) {
  RowStats stats = HWY_DYNAMIC_DISPATCH(row_stats_simd)(x, n);
  if (!std::isfinite(stats.sum_squares)) {
    // Squares of huge finite values overflow float32: the plain loop sums in float64.
    stats = reference::row_stats(x, n);
  }
  return stats;
}

}  // namespace layerscope::kernels
#endif  // HWY_ONCE

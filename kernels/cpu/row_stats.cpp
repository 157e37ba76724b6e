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

/// Moments of finite values; whatever is not finite leaves a sum of squares that is not finite.
RowStats row_stats_simd(const float* x, std::size_t n) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const std::size_t lanes = hn::Lanes(d);
  // Float32 partial sums over at most kSpan values per lane, then float64.
  constexpr std::size_t kSpan = 64;
  RowStats stats;
  const auto zero = hn::Zero(d);
  auto top = zero;
  auto zeros = hn::Zero(di);
  std::size_t i = 0;
  while (i + lanes <= n) {
    auto sum = zero;
    auto squares = zero;
    for (std::size_t k = 0; k < kSpan && i + lanes <= n; ++k, i += lanes) {
      const auto v = hn::LoadU(d, x + i);
      sum = hn::Add(sum, v);
      squares = hn::MulAdd(v, v, squares);
      top = hn::Max(top, hn::Abs(v));
      zeros = hn::Sub(zeros, hn::BitCast(di, hn::VecFromMask(d, hn::Eq(v, zero))));  // true is −1
    }
    stats.sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
    stats.sum_squares += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, squares)));
  }
  stats.absmax = hn::GetLane(hn::MaxOfLanes(d, top));
  stats.zeros = static_cast<std::uint32_t>(hn::GetLane(hn::SumOfLanes(di, zeros)));
  for (; i < n; ++i) {
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
    // A NaN or an infinity, or squares beyond float32: the plain loop counts, and sums in float64.
    stats = reference::row_stats(x, n);
  }
  return stats;
}

}  // namespace layerscope::kernels
#endif  // HWY_ONCE

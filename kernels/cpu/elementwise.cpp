// SwiGLU and addition.
#include <cmath>
#include <cstddef>

#include "kernels/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cpp"
#include "hwy/foreach_target.h"  // NOLINT: must come before highway.h
#include "hwy/highway.h"
// clang-format off
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace layerscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void swiglu_simd(const float* gate, const float* up, std::size_t n, float* out) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto one = hn::Set(d, 1.0F);
  // e^−x overflows float32 for x < −88.7: there silu is below 1e-36 and is given as x / e^88.
  const auto floor = hn::Set(d, -88.0F);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto g = hn::LoadU(d, gate + i);
    const auto e = hn::Exp(d, hn::Neg(hn::Max(g, floor)));
    const auto silu = hn::Div(g, hn::Add(one, e));
    // Max drops a NaN on some targets; the division keeps it, because g itself is the numerator.
    hn::StoreU(hn::Mul(silu, hn::LoadU(d, up + i)), d, out + i);
  }
  for (; i < n; ++i) {
    out[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
  }
}

}  // namespace layerscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace layerscope::kernels {
namespace {
HWY_EXPORT(swiglu_simd);
}  // namespace

void swiglu(const float* gate, const float* up, std::size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(swiglu_simd)(gate, up, n, out);
}

void add_in_place(float* x, const float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    x[i] += y[i];
  }
}

}  // namespace layerscope::kernels
#endif  // HWY_ONCE

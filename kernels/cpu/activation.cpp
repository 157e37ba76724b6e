// Activations of the feed-forward, soft-cap and scale.
//
// The tanh form of GELU is computed as x / (1 + e^−2z), z = √(2/π)·(x + 0.044715·x³), which is the
// same number without the cancellation of 1 + tanh for negative x.
#include <cmath>
#include <cstddef>

#include "kernels/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cpp"
#include "hwy/foreach_target.h"  // NOLINT: must come before highway.h
#include "hwy/highway.h"
// clang-format off
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace layerscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr float kTwoRootTwoOverPi = 1.5957691216057308F;
constexpr float kCubic = 0.044715F;
/// e^x overflows float32 above 88.7; 1 / e^88 is below every sum it enters.
constexpr float kLargest = 88.0F;

template <bool kTanhForm>
void sigmoid_like(const float* gate, const float* up, std::size_t n, float* out) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto one = hn::Set(d, 1.0F);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, gate + i);
    auto z = x;
    if constexpr (kTanhForm) {
      const auto cube = hn::Mul(hn::Mul(x, x), x);
      z = hn::Mul(hn::Set(d, kTwoRootTwoOverPi), hn::MulAdd(hn::Set(d, kCubic), cube, x));
    }
    const auto e = hn::Exp(d, hn::Neg(hn::Max(z, hn::Set(d, -kLargest))));
    auto y = hn::Div(x, hn::Add(one, e));
    if (up != nullptr) {
      y = hn::Mul(y, hn::LoadU(d, up + i));
    }
    hn::StoreU(y, d, out + i);
  }
  for (; i < n; ++i) {
    const float x = gate[i];
    const float z = kTanhForm ? kTwoRootTwoOverPi * (x + kCubic * x * x * x) : x;
    const float y = x / (1.0F + std::exp(-(z < -kLargest ? -kLargest : z)));
    out[i] = up != nullptr ? y * up[i] : y;
  }
}

void activate_silu(const float* gate, const float* up, std::size_t n, float* out) {
  sigmoid_like<false>(gate, up, n, out);
}
void activate_gelu_tanh(const float* gate, const float* up, std::size_t n, float* out) {
  sigmoid_like<true>(gate, up, n, out);
}

}  // namespace layerscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace layerscope::kernels {
namespace {
HWY_EXPORT(activate_silu);
HWY_EXPORT(activate_gelu_tanh);
}  // namespace

void activate(Activation kind, const float* gate, const float* up, std::size_t n, float* out) {
  switch (kind) {
    case Activation::kSilu:
      if (up != nullptr) {
        swiglu(gate, up, n, out);
      } else {
        HWY_DYNAMIC_DISPATCH(activate_silu)(gate, up, n, out);
      }
      return;
    case Activation::kGeluTanh:
      HWY_DYNAMIC_DISPATCH(activate_gelu_tanh)(gate, up, n, out);
      return;
    case Activation::kGelu:
      for (std::size_t i = 0; i < n; ++i) {
        constexpr float kRootHalf = 0.70710678F;
        const float x = gate[i];
        const float y = 0.5F * x * std::erfc(-x * kRootHalf);  // no cancellation for negative x
        out[i] = up != nullptr ? y * up[i] : y;
      }
      return;
  }
}

void soft_cap(float* x, std::size_t n, float cap) {
  for (std::size_t i = 0; i < n; ++i) {
    x[i] = cap * std::tanh(x[i] / cap);
  }
}

void scale_in_place(float* x, std::size_t n, float factor) {
  for (std::size_t i = 0; i < n; ++i) {
    x[i] *= factor;
  }
}

}  // namespace layerscope::kernels
#endif  // HWY_ONCE

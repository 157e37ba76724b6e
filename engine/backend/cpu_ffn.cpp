// The feed-forward of the CPU pass: dense, or routed to experts.
#include <algorithm>

#include "engine/backend/cpu_pass.h"

namespace layerscope::backend {

using capture::Tap;

void CpuBackend::Pass::ffn_block(int layer) {
  const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
  const float* stream = spec_.parallel ? buf_.entered.data() : buf_.residual.data();
  const float* in = stream;
  if (spec_.has_ffn_norm()) {
    norm(stream, w.ffn_norm, w.ffn_norm_bias, n_, buf_.normed.data());
  } else if (spec_.second_attn_norm) {
    norm(stream, w.attn_norm, w.attn_norm_bias, n_, buf_.normed.data());
  }
  if (spec_.pre_norm) {
    in = buf_.normed.data();  // where the norm is shared it still holds attn_norm
  }
  if (spec_.has_ffn_norm() || spec_.second_attn_norm) {
    tap(Tap::kFfnNorm, layer, buf_.normed, {spec_.hidden});
  }
  if (spec_.n_experts > 0) {
    expert_ffn(layer, in);
  } else {
    dense_ffn(layer, in);
  }
  alter(Tap::kFfnOut, layer, buf_.block);
  tap(Tap::kFfnOut, layer, buf_.block, {spec_.hidden});
  post_norm(Tap::kFfnPostNorm, layer, w.post_ffn_norm);
  add_block(Tap::kFfnOut, layer);
  tap(Tap::kResidOut, layer, buf_.residual, {spec_.hidden});
}

void CpuBackend::Pass::dense_ffn(int layer, const float* in) {
  const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
  const auto bias = [](const std::vector<float>& b) { return b.empty() ? nullptr : b.data(); };
  const kernels::Product up_gate[] = {{w.up, bias(w.up_bias), buf_.up.data(), ffn_},
                                      {w.gate, bias(w.gate_bias), buf_.gate.data(), ffn_}};
  kernels::matmul(self_.pool_, up_gate, spec_.gated ? 2 : 1, in, n_, hidden_);
  if (spec_.gated) {
    tap(Tap::kFfnGate, layer, buf_.gate, {spec_.ffn});
  }
  tap(Tap::kFfnUp, layer, buf_.up, {spec_.ffn});
  // Rows, not one flat range: a row's bits must not depend on how many tokens there are.
  self_.pool_.run_ranges(n_, 8, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const float* up = buf_.up.data() + t * ffn_;
      kernels::activate(spec_.activation, spec_.gated ? buf_.gate.data() + t * ffn_ : up,
                        spec_.gated ? up : nullptr, ffn_, buf_.act.data() + t * ffn_);
    }
  });
  tap(Tap::kFfnAct, layer, buf_.act, {spec_.ffn});
  const kernels::Product down{w.down, bias(w.down_bias), buf_.block.data(), hidden_};
  kernels::matmul(self_.pool_, &down, 1, buf_.act.data(), n_, ffn_);
}

void CpuBackend::Pass::expert_ffn(int layer, const float* in) {
  const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
  const auto n_experts = static_cast<std::size_t>(spec_.n_experts);
  const auto used = static_cast<std::size_t>(spec_.n_experts_used);
  buf_.router.resize(n_ * n_experts);
  buf_.chosen.resize(n_ * used);
  buf_.shares.resize(n_ * used);
  const kernels::Product router{w.router, nullptr, buf_.router.data(), n_experts};
  kernels::matmul(self_.pool_, &router, 1, in, n_, hidden_);
  tap(Tap::kMoeRouter, layer, buf_.router, {spec_.n_experts});
  for (std::size_t t = 0; t < n_; ++t) {
    route(layer, t);
  }
  const std::vector<float> numbers(buf_.chosen.begin(), buf_.chosen.end());
  tap(Tap::kMoeTopk, layer, numbers, {spec_.n_experts_used});
  tap(Tap::kMoeWeights, layer, buf_.shares, {spec_.n_experts_used});
  for (std::size_t t = 0; t < n_; ++t) {
    run_experts(layer, t, in + t * hidden_);
  }
  tap(Tap::kFfnGate, layer, buf_.gate, {spec_.n_experts_used, spec_.ffn});
  tap(Tap::kFfnUp, layer, buf_.up, {spec_.n_experts_used, spec_.ffn});
  tap(Tap::kFfnAct, layer, buf_.act, {spec_.n_experts_used, spec_.ffn});
}

void CpuBackend::Pass::route(int /*layer*/, std::size_t token) {
  const auto n_experts = static_cast<std::size_t>(spec_.n_experts);
  const auto used = static_cast<std::size_t>(spec_.n_experts_used);
  kernels::route_experts(buf_.router.data() + token * n_experts, n_experts, used,
                         spec_.expert_weights_norm, buf_.chosen.data() + token * used,
                         buf_.shares.data() + token * used);
}

void CpuBackend::Pass::run_experts(int layer, std::size_t token, const float* in) {
  const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
  const auto used = static_cast<std::size_t>(spec_.n_experts_used);
  const auto width = static_cast<std::size_t>(spec_.ffn);
  std::vector<kernels::Product> products;
  for (std::size_t slot = 0; slot < used; ++slot) {
    const auto e = static_cast<std::size_t>(buf_.chosen[token * used + slot]);
    const std::size_t at = (token * used + slot) * width;
    products.push_back({w.experts[e].gate, nullptr, buf_.gate.data() + at, width});
    products.push_back({w.experts[e].up, nullptr, buf_.up.data() + at, width});
  }
  kernels::matmul(self_.pool_, products.data(), products.size(), in, 1, hidden_);
  float* const block = buf_.block.data() + token * hidden_;
  std::fill(block, block + hidden_, 0.0F);
  buf_.expert_out.resize(hidden_);
  for (std::size_t slot = 0; slot < used; ++slot) {
    const auto e = static_cast<std::size_t>(buf_.chosen[token * used + slot]);
    const std::size_t at = (token * used + slot) * width;
    kernels::activate(spec_.activation, buf_.gate.data() + at, buf_.up.data() + at, width,
                      buf_.act.data() + at);
    const kernels::Product down{w.experts[e].down, nullptr, buf_.expert_out.data(), hidden_};
    kernels::matmul(self_.pool_, &down, 1, buf_.act.data() + at, 1, width);
    const float share = buf_.shares[token * used + slot];
    for (std::size_t i = 0; i < hidden_; ++i) {
      block[i] += share * buf_.expert_out[i];
    }
  }
}

}  // namespace layerscope::backend

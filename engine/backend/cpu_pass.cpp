#include "engine/backend/cpu_pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace layerscope::backend {

using capture::Tap;

namespace {

const float* or_null(const std::vector<float>& v) { return v.empty() ? nullptr : v.data(); }

}  // namespace

CpuBackend::Pass::Pass(CpuBackend& backend, const ForwardRequest& request,
                       capture::PassCapture& captured)
    : self_(backend),
      spec_(backend.computed_->spec),
      weights_(backend.computed_->weights),
      request_(request),
      captured_(captured),
      buf_(backend.buffers_),
      n_(request.ids.size()),
      hidden_(static_cast<std::size_t>(spec_.hidden)),
      q_width_(static_cast<std::size_t>(spec_.q_width())),
      kv_width_(static_cast<std::size_t>(spec_.kv_width())),
      head_dim_(static_cast<std::size_t>(spec_.head_dim)),
      ffn_(static_cast<std::size_t>(spec_.ffn_width())) {}

Status CpuBackend::Pass::run(std::vector<float>& logits) {
  prepare();
  for (int layer = 0; layer < spec_.n_layers; ++layer) {
    if (request_.stop.stop_requested()) {
      return cancelled_error();
    }
    splice(layer);
    attention_block(layer);
    ffn_block(layer);
  }
  output(logits);
  return {};
}

void CpuBackend::Pass::splice(int layer) {
  for (const Splice& splice : request_.splices) {
    if (splice.layer == layer) {
      std::copy(splice.residual.begin(), splice.residual.end(), buf_.residual.begin());
    }
  }
}

void CpuBackend::Pass::prepare() {
  buf_.residual.resize(n_ * hidden_);
  buf_.normed.resize(n_ * hidden_);
  buf_.block.resize(n_ * hidden_);
  buf_.q.resize(n_ * q_width_);
  buf_.context.resize(n_ * q_width_);
  buf_.k.resize(n_ * kv_width_);
  buf_.v.resize(n_ * kv_width_);
  buf_.gate.resize(spec_.gated ? n_ * ffn_ : 0);
  buf_.up.resize(n_ * ffn_);
  buf_.act.resize(n_ * ffn_);
  captured_.reset(request_.capture, request_.position, static_cast<int>(n_), spec_.n_layers,
                  spec_.n_heads);
  for (std::size_t t = 0; t < n_; ++t) {
    embed(request_.ids[t], request_.position + static_cast<int>(t),
          buf_.residual.data() + t * hidden_);
  }
  if (spec_.parallel) {
    buf_.entered.resize(n_ * hidden_);
  }
  const auto rope_dim = static_cast<std::size_t>(spec_.rope_dim);
  const auto angles = [&](const std::vector<double>& inv_freq, std::vector<float>& out) {
    out.resize(n_ * rope_dim);
    for (std::size_t t = 0; t < n_; ++t) {
      kernels::rope_angles(request_.position + static_cast<int>(t), inv_freq.data(),
                           inv_freq.size(), out.data() + t * rope_dim, spec_.rope_factor);
    }
  };
  angles(weights_.frequencies(spec_, self_.context_), buf_.cos_sin);
  if (!weights_.inv_freq_windowed.empty()) {
    angles(weights_.inv_freq_windowed, buf_.cos_sin_windowed);
  }
  tap(Tap::kEmbedding, -1, buf_.residual, {spec_.hidden});
}

const float* CpuBackend::Pass::cos_sin(int layer, std::size_t token) const {
  const bool own = !weights_.inv_freq_windowed.empty() && spec_.layer_windowed(layer);
  return (own ? buf_.cos_sin_windowed : buf_.cos_sin).data() +
         token * static_cast<std::size_t>(spec_.rope_dim);
}

void CpuBackend::Pass::embed(std::int32_t id, int position, float* out) {
  kernels::dequantize_row(weights_.embedding.dtype,
                          weights_.embedding.row(static_cast<std::size_t>(id)), hidden_, out);
  if (spec_.embedding_scale != 1.0F) {
    kernels::scale_in_place(out, hidden_, spec_.embedding_scale);
  }
  if (spec_.learned_positions) {
    std::vector<float> row(hidden_);
    kernels::dequantize_row(weights_.positions.dtype,
                            weights_.positions.row(static_cast<std::size_t>(position)), hidden_,
                            row.data());
    kernels::add_in_place(out, row.data(), hidden_);
  }
}

void CpuBackend::Pass::attention_block(int layer) {
  const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
  if (spec_.parallel) {
    std::copy(buf_.residual.begin(), buf_.residual.end(), buf_.entered.begin());
  }
  project(layer);
  tap(Tap::kQ, layer, buf_.q, {spec_.n_heads, spec_.head_dim});
  tap(Tap::kK, layer, buf_.k, {spec_.n_kv_heads, spec_.head_dim});
  tap(Tap::kV, layer, buf_.v, {spec_.n_kv_heads, spec_.head_dim});
  rotate_and_store(layer);
  tap(Tap::kQRope, layer, buf_.q, {spec_.n_heads, spec_.head_dim});
  tap(Tap::kKRope, layer, buf_.k, {spec_.n_kv_heads, spec_.head_dim});
  attend(layer);
  alter(Tap::kAttnContext, layer, buf_.context);
  tap(Tap::kAttnContext, layer, buf_.context, {spec_.n_heads, spec_.head_dim});
  const kernels::Product out{w.out, or_null(w.out_bias), buf_.block.data(), hidden_};
  kernels::matmul(self_.pool_, &out, 1, buf_.context.data(), n_, q_width_);
  alter(Tap::kAttnOut, layer, buf_.block);
  tap(Tap::kAttnOut, layer, buf_.block, {spec_.hidden});
  post_norm(Tap::kAttnPostNorm, layer, w.post_attn_norm);
  add_block(Tap::kAttnOut, layer);
  tap(Tap::kResidMid, layer, buf_.residual, {spec_.hidden});
}

void CpuBackend::Pass::project(int layer) {
  const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
  const float* in = buf_.residual.data();
  if (spec_.second_attn_norm) {
    // attn_norm is what Q, K, V read; the feed-forward computes its own afterwards.
    norm(in, w.attn_norm_2, w.attn_norm_2_bias, n_, buf_.normed.data());
  } else if (spec_.pre_norm) {
    norm(in, w.attn_norm, w.attn_norm_bias, n_, buf_.normed.data());
  }
  if (spec_.pre_norm) {
    tap(Tap::kAttnNorm, layer, buf_.normed, {spec_.hidden});
    in = buf_.normed.data();
  }
  const kernels::Product qkv[] = {{w.q, or_null(w.q_bias), buf_.q.data(), q_width_},
                                  {w.k, or_null(w.k_bias), buf_.k.data(), kv_width_},
                                  {w.v, or_null(w.v_bias), buf_.v.data(), kv_width_}};
  kernels::matmul(self_.pool_, qkv, 3, in, n_, hidden_);
  if (spec_.qk_norm != model::QkNorm::kNone) {
    normalise_heads(layer);
  }
}

void CpuBackend::Pass::norm_row(float* x, const float* weight, std::size_t n) const {
  if (spec_.qk_norm_kind == model::NormKind::kRms) {
    kernels::rms_norm(x, weight, n, spec_.norm_eps, x);
  } else {
    kernels::layer_norm(x, weight, nullptr, n, spec_.norm_eps, x);
  }
}

void CpuBackend::Pass::normalise_heads(int layer) {
  const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
  const auto apply = [&](std::vector<float>& x, const std::vector<float>& weight,
                         std::size_t width) {
    const bool whole = spec_.qk_norm == model::QkNorm::kWhole;
    const std::size_t row = whole ? width : head_dim_;
    for (std::size_t t = 0; t < n_; ++t) {
      for (std::size_t begin = 0; begin < width; begin += row) {
        const bool own = spec_.qk_norm == model::QkNorm::kOwnHead;
        norm_row(x.data() + t * width + begin, weight.data() + (own ? begin : 0), row);
      }
    }
  };
  apply(buf_.q, w.q_norm, q_width_);
  apply(buf_.k, w.k_norm, kv_width_);
}

void CpuBackend::Pass::norm(const float* x, const std::vector<float>& weight,
                            const std::vector<float>& bias, std::size_t rows, float* out) const {
  for (std::size_t t = 0; t < rows; ++t) {
    const std::size_t at = t * hidden_;
    if (spec_.norm_kind == model::NormKind::kRms) {
      kernels::rms_norm(x + at, weight.data(), hidden_, spec_.norm_eps, out + at);
    } else {
      kernels::layer_norm(x + at, weight.data(), or_null(bias), hidden_, spec_.norm_eps, out + at);
    }
  }
}

void CpuBackend::Pass::post_norm(Tap which, int layer, const std::vector<float>& weight) {
  if (spec_.post_norm) {
    norm(buf_.block.data(), weight, {}, n_, buf_.block.data());
    tap(which, layer, buf_.block, {spec_.hidden});
  }
}

void CpuBackend::Pass::add_block(Tap /*block*/, int /*layer*/) {
  kernels::add_in_place(buf_.residual.data(), buf_.block.data(), n_ * hidden_);
}

void CpuBackend::Pass::output(std::vector<float>& logits) {
  const std::size_t first = request_.all_logits ? 0 : n_ - 1;
  const std::size_t rows = n_ - first;
  const auto vocab = static_cast<std::size_t>(spec_.vocab_rows);
  buf_.normed.resize(rows * hidden_);
  norm(buf_.residual.data() + first * hidden_, weights_.output_norm, weights_.output_norm_bias,
       rows, buf_.normed.data());
  tap(Tap::kFinalNorm, -1, buf_.normed, {spec_.hidden}, first);
  logits.resize(rows * vocab);
  const kernels::Product head{weights_.head, or_null(weights_.head_bias), logits.data(), vocab};
  kernels::matmul(self_.pool_, &head, 1, buf_.normed.data(), rows, hidden_);
  finish_logits(logits);
  alter(Tap::kLogits, -1, logits);
  tap(Tap::kLogits, -1, logits, {spec_.vocab_rows}, first);
}

void CpuBackend::Pass::finish_logits(std::vector<float>& logits) {
  if (spec_.logit_scale != 1.0F) {
    kernels::scale_in_place(logits.data(), logits.size(), spec_.logit_scale);
  }
  if (spec_.logit_cap > 0.0F) {
    kernels::soft_cap(logits.data(), logits.size(), spec_.logit_cap);
  }
}

void CpuBackend::Pass::rotate_and_store(int layer) {
  const auto rope_dim = static_cast<std::size_t>(spec_.rope_dim);
  const std::size_t head_bytes = head_dim_ * sizeof(float);
  const kernels::RopePairing pairing =
      spec_.layer_rotates(layer) ? spec_.rope_pairing : kernels::RopePairing::kNone;
  for (std::size_t t = 0; t < n_; ++t) {
    const float* angles = cos_sin(layer, t);
    const int slot = request_.position + static_cast<int>(t);
    for (int h = 0; h < spec_.n_heads; ++h) {
      float* q = buf_.q.data() + t * q_width_ + static_cast<std::size_t>(h) * head_dim_;
      kernels::rope_apply(q, angles, rope_dim, pairing);
      std::memcpy(self_.cache_.query(layer, h, slot), q, head_bytes);
    }
    for (int h = 0; h < spec_.n_kv_heads; ++h) {
      const std::size_t offset = t * kv_width_ + static_cast<std::size_t>(h) * head_dim_;
      kernels::rope_apply(buf_.k.data() + offset, angles, rope_dim, pairing);
      std::memcpy(self_.cache_.key(layer, h, slot), buf_.k.data() + offset, head_bytes);
      std::memcpy(self_.cache_.value(layer, h, slot), buf_.v.data() + offset, head_bytes);
    }
  }
}

void CpuBackend::Pass::attend(int layer) {
  const bool summarise = request_.capture.tier != capture::Tier::kOff;
  const bool keep_rows = request_.capture.tier >= capture::Tier::kAttention;
  const std::size_t keys = static_cast<std::size_t>(request_.position) + n_;
  float* scores = full_attention(Tap::kAttnScores, layer, keys, -INFINITY);
  float* weights = full_attention(Tap::kAttnWeights, layer, keys, 0.0F);
  buf_.probs.resize(static_cast<std::size_t>(spec_.n_heads) *
                    static_cast<std::size_t>(self_.context_));
  self_.pool_.run(spec_.n_heads, [&](int h) {
    const auto head_index = static_cast<std::size_t>(h);
    for (std::size_t t = 0; t < n_; ++t) {
      kernels::AttentionHead head =
          self_.attention_of(layer, h, request_.position + static_cast<int>(t));
      head.q = buf_.q.data() + t * q_width_ + head_index * head_dim_;
      head.probs = buf_.probs.data() + head_index * static_cast<std::size_t>(self_.context_);
      if (keep_rows) {
        head.probs = captured_.attention[t].data() +
                     (static_cast<std::size_t>(layer) * static_cast<std::size_t>(spec_.n_heads) +
                      head_index) *
                         head.kv_len;
      }
      const std::size_t full_row = (head_index * n_ + t) * keys;
      head.scores = scores != nullptr ? scores + full_row : nullptr;
      head.out = buf_.context.data() + t * q_width_ + head_index * head_dim_;
      kernels::AttentionSummary summary;
      kernels::attention_head(head, summarise ? &summary : nullptr);
      if (weights != nullptr) {
        std::copy(head.probs, head.probs + head.kv_len, weights + full_row);
      }
      if (summarise) {
        captured_.head(static_cast<int>(t), layer, h) = {
            summary.row_sum, summary.entropy, summary.max,
            summary.argmax,  head.probs[0],   head.probs[head.kv_len - 1],
            summary.lse};
      }
    }
  });
}

float* CpuBackend::Pass::full_attention(Tap which, int layer, std::size_t keys, float fill) {
  if (!request_.capture.wants_full(which, layer)) {
    return nullptr;
  }
  const auto heads = static_cast<std::size_t>(spec_.n_heads);
  captured_.tensors.push_back(
      {which,
       layer,
       {spec_.n_heads, static_cast<std::int64_t>(n_), static_cast<std::int64_t>(keys)},
       std::vector<float>(heads * n_ * keys, fill)});
  return captured_.tensors.back().values.data();
}

void CpuBackend::Pass::tap(Tap which, int layer, const std::vector<float>& values,
                           std::initializer_list<std::int64_t> row_shape, std::size_t first) {
  if (request_.capture.tier == capture::Tier::kOff) {
    return;
  }
  std::size_t width = 1;
  for (const std::int64_t dim : row_shape) {
    width *= static_cast<std::size_t>(dim);
  }
  const std::size_t rows = n_ - first;
  const auto summarise = [&](std::size_t t) {
    captured_.stats(static_cast<int>(first + t), layer, which) =
        capture::compute_stats(values.data() + t * width, width);
  };
  if (rows == 1) {  // decode: a hundred taps per token, each shorter than starting a loop
    summarise(0);
  } else {
    self_.pool_.run_ranges(rows, 8, [&](std::size_t begin, std::size_t end) {
      for (std::size_t t = begin; t < end; ++t) {
        summarise(t);
      }
    });
  }
  if (request_.capture.wants_full(which, layer)) {
    std::vector<std::int64_t> shape{static_cast<std::int64_t>(rows)};
    shape.insert(shape.end(), row_shape.begin(), row_shape.end());
    captured_.tensors.push_back(
        {which, layer, std::move(shape),
         std::vector<float>(values.begin(),
                            values.begin() + static_cast<std::ptrdiff_t>(rows * width))});
  }
}

}  // namespace layerscope::backend

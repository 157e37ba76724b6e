// CpuBackend::Pass: one forward pass, the stages in order, each offered to the capture. Private to
// the CPU backend; lives on the stack of `forward`.
//
// The virtual members are the points where FaultPass does something wrong on purpose. Without
// faults this class runs as it stands.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "engine/backend/cpu_backend.h"
#include "kernels/ops.h"

namespace layerscope::backend {

/// One forward pass: the stages in order, each offered to the capture.
class CpuBackend::Pass {
 public:
  Pass(CpuBackend& backend, const ForwardRequest& request, capture::PassCapture& captured)
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
        ffn_(static_cast<std::size_t>(spec_.ffn)) {}

  virtual ~Pass() = default;
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  Status run(std::vector<float>& logits) {
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

 protected:
  /// Another run's residual stream in the place of this one's.
  void splice(int layer) {
    for (const Splice& splice : request_.splices) {
      if (splice.layer == layer) {
        std::copy(splice.residual.begin(), splice.residual.end(), buf_.residual.begin());
      }
    }
  }

  void prepare() {
    buf_.residual.resize(n_ * hidden_);
    buf_.normed.resize(n_ * hidden_);
    buf_.block.resize(n_ * hidden_);
    buf_.q.resize(n_ * q_width_);
    buf_.context.resize(n_ * q_width_);
    buf_.k.resize(n_ * kv_width_);
    buf_.v.resize(n_ * kv_width_);
    buf_.gate.resize(n_ * ffn_);
    buf_.up.resize(n_ * ffn_);
    buf_.act.resize(n_ * ffn_);
    buf_.cos_sin.resize(n_ * static_cast<std::size_t>(spec_.rope_dim));
    captured_.reset(request_.capture, request_.position, static_cast<int>(n_), spec_.n_layers,
                    spec_.n_heads);
    for (std::size_t t = 0; t < n_; ++t) {
      embed(request_.ids[t], buf_.residual.data() + t * hidden_);
      kernels::rope_angles(request_.position + static_cast<int>(t), weights_.inv_freq.data(),
                           weights_.inv_freq.size(),
                           buf_.cos_sin.data() + t * static_cast<std::size_t>(spec_.rope_dim));
    }
    tap(capture::Tap::kEmbedding, -1, buf_.residual, {spec_.hidden});
  }

  /// The embedding row of token `id` into out[hidden].
  virtual void embed(std::int32_t id, float* out) {
    kernels::dequantize_row(weights_.embedding.dtype,
                            weights_.embedding.row(static_cast<std::size_t>(id)), hidden_, out);
  }

  void attention_block(int layer) {
    const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
    norm(buf_.residual, w.attn_norm);
    tap(capture::Tap::kAttnNorm, layer, buf_.normed, {spec_.hidden});
    const auto bias = [](const std::vector<float>& b) { return b.empty() ? nullptr : b.data(); };
    const kernels::Product qkv[] = {{w.q, bias(w.q_bias), buf_.q.data(), q_width_},
                                    {w.k, bias(w.k_bias), buf_.k.data(), kv_width_},
                                    {w.v, bias(w.v_bias), buf_.v.data(), kv_width_}};
    kernels::matmul(self_.pool_, qkv, 3, buf_.normed.data(), n_, hidden_);
    tap(capture::Tap::kQ, layer, buf_.q, {spec_.n_heads, spec_.head_dim});
    tap(capture::Tap::kK, layer, buf_.k, {spec_.n_kv_heads, spec_.head_dim});
    tap(capture::Tap::kV, layer, buf_.v, {spec_.n_kv_heads, spec_.head_dim});
    rotate_and_store(layer);
    tap(capture::Tap::kQRope, layer, buf_.q, {spec_.n_heads, spec_.head_dim});
    tap(capture::Tap::kKRope, layer, buf_.k, {spec_.n_kv_heads, spec_.head_dim});
    attend(layer);
    alter(capture::Tap::kAttnContext, layer, buf_.context);
    tap(capture::Tap::kAttnContext, layer, buf_.context, {spec_.n_heads, spec_.head_dim});
    const kernels::Product out{w.out, bias(w.out_bias), buf_.block.data(), hidden_};
    kernels::matmul(self_.pool_, &out, 1, buf_.context.data(), n_, q_width_);
    alter(capture::Tap::kAttnOut, layer, buf_.block);
    tap(capture::Tap::kAttnOut, layer, buf_.block, {spec_.hidden});
    add_block(capture::Tap::kAttnOut, layer);
    tap(capture::Tap::kResidMid, layer, buf_.residual, {spec_.hidden});
  }

  void ffn_block(int layer) {
    const model::LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
    norm(buf_.residual, w.ffn_norm);
    tap(capture::Tap::kFfnNorm, layer, buf_.normed, {spec_.hidden});
    const kernels::Product gate_up[] = {{w.gate, nullptr, buf_.gate.data(), ffn_},
                                        {w.up, nullptr, buf_.up.data(), ffn_}};
    kernels::matmul(self_.pool_, gate_up, 2, buf_.normed.data(), n_, hidden_);
    tap(capture::Tap::kFfnGate, layer, buf_.gate, {spec_.ffn});
    tap(capture::Tap::kFfnUp, layer, buf_.up, {spec_.ffn});
    // Rows, not one flat range: a row's bits must not depend on how many tokens there are.
    self_.pool_.run_ranges(n_, 8, [&](std::size_t begin, std::size_t end) {
      for (std::size_t t = begin; t < end; ++t) {
        kernels::swiglu(buf_.gate.data() + t * ffn_, buf_.up.data() + t * ffn_, ffn_,
                        buf_.act.data() + t * ffn_);
      }
    });
    tap(capture::Tap::kFfnAct, layer, buf_.act, {spec_.ffn});
    const kernels::Product down{w.down, nullptr, buf_.block.data(), hidden_};
    kernels::matmul(self_.pool_, &down, 1, buf_.act.data(), n_, ffn_);
    alter(capture::Tap::kFfnOut, layer, buf_.block);
    tap(capture::Tap::kFfnOut, layer, buf_.block, {spec_.hidden});
    add_block(capture::Tap::kFfnOut, layer);
    tap(capture::Tap::kResidOut, layer, buf_.residual, {spec_.hidden});
  }

  /// Adds what a block gave to the residual stream.
  virtual void add_block(capture::Tap /*block*/, int /*layer*/) {
    kernels::add_in_place(buf_.residual.data(), buf_.block.data(), n_ * hidden_);
  }

  /// A stage's output before it is captured and used.
  virtual void alter(capture::Tap /*which*/, int /*layer*/, std::vector<float>& /*values*/) {}

  /// Final norm and head, for the last token or for all of them.
  void output(std::vector<float>& logits) {
    const std::size_t first = request_.all_logits ? 0 : n_ - 1;
    const std::size_t rows = n_ - first;
    const auto vocab = static_cast<std::size_t>(spec_.vocab_rows);
    buf_.normed.resize(rows * hidden_);
    for (std::size_t t = 0; t < rows; ++t) {
      kernels::rms_norm(buf_.residual.data() + (first + t) * hidden_, weights_.output_norm.data(),
                        hidden_, spec_.norm_eps, buf_.normed.data() + t * hidden_);
    }
    tap(capture::Tap::kFinalNorm, -1, buf_.normed, {spec_.hidden}, first);
    logits.resize(rows * vocab);
    const kernels::Product head{weights_.head, nullptr, logits.data(), vocab};
    kernels::matmul(self_.pool_, &head, 1, buf_.normed.data(), rows, hidden_);
    alter(capture::Tap::kLogits, -1, logits);
    tap(capture::Tap::kLogits, -1, logits, {spec_.vocab_rows}, first);
  }

  void norm(const std::vector<float>& x, const std::vector<float>& weight) {
    for (std::size_t t = 0; t < n_; ++t) {
      kernels::rms_norm(x.data() + t * hidden_, weight.data(), hidden_, spec_.norm_eps,
                        buf_.normed.data() + t * hidden_);
    }
  }

  /// Rotates Q and K in place and appends Q, K, V to the caches.
  virtual void rotate_and_store(int layer) {
    const auto rope_dim = static_cast<std::size_t>(spec_.rope_dim);
    const std::size_t head_bytes = head_dim_ * sizeof(float);
    for (std::size_t t = 0; t < n_; ++t) {
      const float* cos_sin = buf_.cos_sin.data() + t * rope_dim;
      const int slot = request_.position + static_cast<int>(t);
      for (int h = 0; h < spec_.n_heads; ++h) {
        float* q = buf_.q.data() + t * q_width_ + static_cast<std::size_t>(h) * head_dim_;
        kernels::rope_apply(q, cos_sin, rope_dim, spec_.rope_pairing);
        std::memcpy(self_.cache_.query(layer, h, slot), q, head_bytes);
      }
      for (int h = 0; h < spec_.n_kv_heads; ++h) {
        const std::size_t offset = t * kv_width_ + static_cast<std::size_t>(h) * head_dim_;
        kernels::rope_apply(buf_.k.data() + offset, cos_sin, rope_dim, spec_.rope_pairing);
        std::memcpy(self_.cache_.key(layer, h, slot), buf_.k.data() + offset, head_bytes);
        std::memcpy(self_.cache_.value(layer, h, slot), buf_.v.data() + offset, head_bytes);
      }
    }
  }

  /// Causal attention of every head and token; the rows go into the capture where it wants them.
  virtual void attend(int layer) {
    const bool summarise = request_.capture.tier != capture::Tier::kOff;
    const bool keep_rows = request_.capture.tier >= capture::Tier::kAttention;
    const std::size_t keys = static_cast<std::size_t>(request_.position) + n_;
    float* scores = full_attention(capture::Tap::kAttnScores, layer, keys, -INFINITY);
    float* weights = full_attention(capture::Tap::kAttnWeights, layer, keys, 0.0F);
    buf_.probs.resize(static_cast<std::size_t>(spec_.n_heads) *
                      static_cast<std::size_t>(self_.context_));
    self_.pool_.run(spec_.n_heads, [&](int h) {
      const auto head_index = static_cast<std::size_t>(h);
      for (std::size_t t = 0; t < n_; ++t) {
        kernels::AttentionHead head;
        const int kv_head = h / spec_.heads_per_kv();
        head.q = buf_.q.data() + t * q_width_ + head_index * head_dim_;
        head.k = self_.cache_.key(layer, kv_head, 0);
        head.v = self_.cache_.value(layer, kv_head, 0);
        head.kv_len = static_cast<std::size_t>(request_.position) + t + 1;
        head.head_dim = head_dim_;
        head.scale = spec_.attention_scale;
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

  /// Space for a whole [heads, tokens, keys] tensor, or null when it is not wanted. The pointer
  /// stays valid when further tensors are added: a moved vector keeps its elements where they are.
  float* full_attention(capture::Tap which, int layer, std::size_t keys, float fill) {
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

  /// Offers rows [first, …) of a stage: statistics per token, and the whole tensor where wanted.
  void tap(capture::Tap which, int layer, const std::vector<float>& values,
           std::initializer_list<std::int64_t> row_shape, std::size_t first = 0) {
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

  CpuBackend& self_;
  const model::DecoderSpec& spec_;
  const model::Weights& weights_;
  const ForwardRequest& request_;
  capture::PassCapture& captured_;
  Buffers& buf_;
  std::size_t n_, hidden_, q_width_, kv_width_, head_dim_, ffn_;
};

}  // namespace layerscope::backend

#include "engine/backend/cpu_fault_pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/base/half.h"

namespace layerscope::backend {

using capture::Tap;
using Kind = model::InterventionKind;

void CpuBackend::FaultPass::embed(std::int32_t id, int position, float* out) {
  if (active(Kind::kEmbeddingShift) != nullptr) {
    id = (id + 1) % spec_.vocab_rows;
  }
  if (active(Kind::kEmbeddingUnscaled) != nullptr) {
    kernels::dequantize_row(weights_.embedding.dtype,
                            weights_.embedding.row(static_cast<std::size_t>(id)), hidden_, out);
  } else {
    Pass::embed(id, position, out);
  }
  if (active(Kind::kEmbeddingZero) != nullptr) {
    std::fill(out, out + hidden_, 0.0F);
  }
}

void CpuBackend::FaultPass::normalise_heads(int layer) {
  if (active(Kind::kQkNormOff, layer) == nullptr) {
    Pass::normalise_heads(layer);
  }
}

void CpuBackend::FaultPass::route(int layer, std::size_t token) {
  const auto n_experts = static_cast<std::size_t>(spec_.n_experts);
  const auto used = static_cast<std::size_t>(spec_.n_experts_used);
  const bool shifted = active(Kind::kRouteShifted, layer) != nullptr && used < n_experts;
  const bool normalise =
      spec_.expert_weights_norm && active(Kind::kRouteUnnormalised, layer) == nullptr;
  std::vector<std::int32_t> chosen(used + 1);
  std::vector<float> shares(used + 1);
  kernels::route_experts(buf_.router.data() + token * n_experts, n_experts,
                         shifted ? used + 1 : used, false, chosen.data(), shares.data());
  const std::size_t first = shifted ? 1 : 0;
  double sum = 0.0;
  for (std::size_t slot = 0; slot < used; ++slot) {
    sum += static_cast<double>(shares[first + slot]);
  }
  for (std::size_t slot = 0; slot < used; ++slot) {
    buf_.chosen[token * used + slot] = chosen[first + slot];
    buf_.shares[token * used + slot] =
        static_cast<float>(static_cast<double>(shares[first + slot]) / (normalise ? sum : 1.0));
  }
}

void CpuBackend::FaultPass::finish_logits(std::vector<float>& logits) {
  if (active(Kind::kLogitCapOff) == nullptr) {
    Pass::finish_logits(logits);
  } else if (spec_.logit_scale != 1.0F) {
    kernels::scale_in_place(logits.data(), logits.size(), spec_.logit_scale);
  }
}

/// `head` −1: a key head, which only faults of the whole layer reach.
void CpuBackend::FaultPass::rotate(int layer, int head, std::size_t token, float* values) const {
  const auto hit = [&](Kind kind) {
    const model::Intervention* item = active(kind, layer, head);
    return item != nullptr && (head >= 0 || item->head < 0) ? item : nullptr;
  };
  if (hit(Kind::kRopeOff) != nullptr || !spec_.layer_rotates(layer)) {
    return;
  }
  const auto rope_dim = static_cast<std::size_t>(spec_.rope_dim);
  const float* angles = cos_sin(layer, token);
  std::vector<float> other(rope_dim);
  if (const model::Intervention* base = hit(Kind::kRopeBase)) {
    const bool own = spec_.rope_base_windowed > 0.0 && spec_.layer_windowed(layer);
    constexpr double kAnother = 5e5;  // where the wrong base happens to be the layer's own
    model::DecoderSpec spec = spec_;
    spec.rope_scaling = own ? model::RopeScaling::kNone : spec_.rope_scaling;
    const std::vector<double> inv_freq = model::rope_frequencies(
        spec, own && base->amount == spec_.rope_base_windowed ? kAnother : base->amount);
    kernels::rope_angles(request_.position + static_cast<int>(token), inv_freq.data(),
                         inv_freq.size(), other.data(), spec_.rope_factor);
    angles = other.data();
  }
  kernels::RopePairing pairing = spec_.rope_pairing;
  if (hit(Kind::kRopePairing) != nullptr) {
    pairing = pairing == kernels::RopePairing::kHalf ? kernels::RopePairing::kAdjacent
                                                     : kernels::RopePairing::kHalf;
  }
  kernels::rope_apply(values, angles, rope_dim, pairing);
  if (hit(Kind::kRopeTwice) != nullptr) {
    kernels::rope_apply(values, angles, rope_dim, pairing);
  }
}

void CpuBackend::FaultPass::rotate_and_store(int layer) {
  for (std::size_t t = 0; t < n_; ++t) {
    const int slot = request_.position + static_cast<int>(t);
    for (int h = 0; h < spec_.n_heads; ++h) {
      float* q = buf_.q.data() + t * q_width_ + static_cast<std::size_t>(h) * head_dim_;
      rotate(layer, h, t, q);
      std::memcpy(self_.cache_.query(layer, h, slot), q, head_dim_ * sizeof(float));
    }
    for (int h = 0; h < spec_.n_kv_heads; ++h) {
      rotate(layer, -1, t, buf_.k.data() + t * kv_width_ + static_cast<std::size_t>(h) * head_dim_);
    }
    store(layer, t);
  }
}

void CpuBackend::FaultPass::write_slot(int layer, std::size_t token, int slot) {
  const auto bytes = head_dim_ * sizeof(float);
  for (int h = 0; h < spec_.n_kv_heads; ++h) {
    const std::size_t offset = token * kv_width_ + static_cast<std::size_t>(h) * head_dim_;
    std::memcpy(self_.cache_.key(layer, h, slot), buf_.k.data() + offset, bytes);
    std::memcpy(self_.cache_.value(layer, h, slot), buf_.v.data() + offset, bytes);
  }
}

void CpuBackend::FaultPass::store(int layer, std::size_t token) {
  const int own = request_.position + static_cast<int>(token);
  const bool decoding = n_ == 1 && own > 0;
  const auto clear = [&](int slot) {
    for (int h = 0; h < spec_.n_kv_heads; ++h) {
      std::fill_n(self_.cache_.key(layer, h, slot), head_dim_, 0.0F);
      std::fill_n(self_.cache_.value(layer, h, slot), head_dim_, 0.0F);
    }
  };
  if (active(Kind::kKvOffByOne, layer) != nullptr) {
    if (own == 0) {
      clear(0);
    }
    if (own + 1 < self_.context_) {
      write_slot(layer, token, own + 1);
    }
    return;
  }
  if (active(Kind::kKvStuck, layer) != nullptr && decoding) {
    if (self_.stuck_slot_ < 0) {
      self_.stuck_slot_ = own;
    }
    clear(own);
    write_slot(layer, token, self_.stuck_slot_);
    return;
  }
  if (active(Kind::kKvStale, layer) != nullptr && decoding) {
    for (int h = 0; h < spec_.n_kv_heads; ++h) {  // the real write comes after attention
      std::copy_n(self_.cache_.key(layer, h, own - 1), head_dim_, self_.cache_.key(layer, h, own));
      std::copy_n(self_.cache_.value(layer, h, own - 1), head_dim_,
                  self_.cache_.value(layer, h, own));
    }
    return;
  }
  write_slot(layer, token, own);
  const model::Intervention* zero = active(Kind::kKvZero, layer);
  if (zero != nullptr && zero->index == own) {
    clear(own);
  }
}

void CpuBackend::FaultPass::attend(int layer) {
  const bool wrong =
      active(Kind::kAttentionScale, layer) != nullptr ||
      active(Kind::kSoftmaxUnnormalised, layer) != nullptr ||
      active(Kind::kMaskOff, layer) != nullptr || active(Kind::kGqaModulo, layer) != nullptr ||
      active(Kind::kGqaFirst, layer) != nullptr || active(Kind::kScoreF16, layer) != nullptr ||
      active(Kind::kScoreCapOff, layer) != nullptr || active(Kind::kWindowOff, layer) != nullptr;
  if (!wrong) {
    Pass::attend(layer);
  } else {
    const std::size_t keys = static_cast<std::size_t>(request_.position) + n_;
    float* scores = full_attention(Tap::kAttnScores, layer, keys, -INFINITY);
    float* weights = full_attention(Tap::kAttnWeights, layer, keys, 0.0F);
    for (int h = 0; h < spec_.n_heads; ++h) {
      for (std::size_t t = 0; t < n_; ++t) {
        const std::size_t row = (static_cast<std::size_t>(h) * n_ + t) * keys;
        attend_head(layer, h, t, scores != nullptr ? scores + row : nullptr,
                    weights != nullptr ? weights + row : nullptr);
      }
    }
  }
  if (active(Kind::kKvStale, layer) != nullptr && n_ == 1 && request_.position > 0) {
    write_slot(layer, 0, request_.position);
  }
}

void CpuBackend::FaultPass::attend_head(int layer, int head, std::size_t token, float* scores,
                                        float* weights) {
  const std::size_t own = static_cast<std::size_t>(request_.position) + token + 1;
  const std::size_t seen = active(Kind::kMaskOff, layer, head) != nullptr
                               ? static_cast<std::size_t>(request_.position) + n_
                               : own;
  int kv_head = head / spec_.heads_per_kv();
  if (active(Kind::kGqaModulo, layer, head) != nullptr) {
    kv_head = head % spec_.n_kv_heads;
  }
  if (active(Kind::kGqaFirst, layer, head) != nullptr) {
    kv_head = 0;
  }
  const model::Intervention* factor = active(Kind::kAttentionScale, layer, head);
  const double scale =
      static_cast<double>(spec_.attention_scale) * (factor != nullptr ? factor->amount : 1.0);
  const bool half = active(Kind::kScoreF16, layer, head) != nullptr;
  const auto cap = active(Kind::kScoreCapOff, layer, head) != nullptr
                       ? 0.0
                       : static_cast<double>(spec_.attention_cap);
  const std::size_t first = active(Kind::kWindowOff, layer, head) != nullptr
                                ? 0
                                : static_cast<std::size_t>(spec_.first_key(
                                      layer, request_.position + static_cast<int>(token)));
  const float* q = buf_.q.data() + token * q_width_ + static_cast<std::size_t>(head) * head_dim_;
  const float* k = self_.cache_.key(layer, kv_head, 0);
  const float* v = self_.cache_.value(layer, kv_head, 0);
  std::vector<double> row(seen);
  double top = -std::numeric_limits<double>::infinity();
  for (std::size_t j = 0; j < seen; ++j) {
    if (j < first) {
      row[j] = -std::numeric_limits<double>::infinity();
      continue;
    }
    double dot = 0.0;
    for (std::size_t d = 0; d < head_dim_; ++d) {
      const float product = q[d] * k[j * head_dim_ + d];
      dot += static_cast<double>(product);
      if (half) {
        dot = static_cast<double>(f16_to_f32(f32_to_f16(static_cast<float>(dot))));
      }
    }
    const double scaled = dot * scale;
    row[j] =
        static_cast<double>(static_cast<float>(cap > 0.0 ? cap * std::tanh(scaled / cap) : scaled));
    if (scores != nullptr) {
      scores[j] = static_cast<float>(row[j]);
    }
    top = std::max(top, row[j]);
  }
  double total = 0.0;
  double weighted = 0.0;
  for (double& s : row) {
    const double e = std::exp(s - top);
    total += e;
    weighted += e > 0.0 ? e * (s - top) : 0.0;
    s = e;
  }
  if (active(Kind::kSoftmaxUnnormalised, layer, head) == nullptr) {
    for (double& p : row) {
      p /= total;
    }
  }
  float* out = buf_.context.data() + token * q_width_ + static_cast<std::size_t>(head) * head_dim_;
  for (std::size_t d = 0; d < head_dim_; ++d) {
    double sum = 0.0;
    for (std::size_t j = 0; j < seen; ++j) {
      sum += row[j] * static_cast<double>(v[j * head_dim_ + d]);
    }
    out[d] = static_cast<float>(sum);
  }
  std::vector<float> probs(row.begin(), row.end());
  if (weights != nullptr) {
    std::copy(probs.begin(), probs.end(), weights);
  }
  probs.resize(own);  // what a causal row shows
  if (request_.capture.tier >= capture::Tier::kAttention) {
    std::copy(probs.begin(), probs.end(),
              captured_.attention[token].begin() +
                  static_cast<std::ptrdiff_t>(
                      (static_cast<std::size_t>(layer) * static_cast<std::size_t>(spec_.n_heads) +
                       static_cast<std::size_t>(head)) *
                      own));
  }
  if (request_.capture.tier != capture::Tier::kOff) {
    double sum = 0.0;
    for (const float p : probs) {
      sum += static_cast<double>(p);
    }
    const auto best = std::max_element(probs.begin(), probs.end());
    captured_.head(static_cast<int>(token), layer, head) = {
        static_cast<float>(sum),
        static_cast<float>(std::log(total) - weighted / total),
        *best,
        static_cast<std::int32_t>(best - probs.begin()),
        probs.front(),
        probs.back(),
        static_cast<float>(top + std::log(total))};
  }
}

void CpuBackend::FaultPass::add_block(Tap block, int layer) {
  if (block == Tap::kAttnOut && active(Kind::kResidualSkip, layer) != nullptr) {
    return;
  }
  Pass::add_block(block, layer);
}

void CpuBackend::FaultPass::alter(Tap which, int layer, std::vector<float>& values) {
  if (which == Tap::kAttnContext) {
    for (int h = 0; h < spec_.n_heads; ++h) {
      for (std::size_t t = 0; active(Kind::kAblateHead, layer, h) != nullptr && t < n_; ++t) {
        std::fill_n(values.data() + t * q_width_ + static_cast<std::size_t>(h) * head_dim_,
                    head_dim_, 0.0F);
      }
    }
  } else if (which == Tap::kAttnOut && active(Kind::kAblateAttention, layer) != nullptr) {
    std::fill_n(values.data(), n_ * hidden_, 0.0F);
  } else if (which == Tap::kFfnOut) {
    const model::Intervention* channel = active(Kind::kChannel, layer);
    for (std::size_t t = 0; channel != nullptr && t < n_; ++t) {
      values[t * hidden_ + static_cast<std::size_t>(channel->index)] *=
          static_cast<float>(channel->amount);
    }
    if (active(Kind::kNan, layer) != nullptr) {
      values[(n_ - 1) * hidden_] = std::numeric_limits<float>::quiet_NaN();
    }
    if (active(Kind::kAblateFfn, layer) != nullptr) {
      std::fill_n(values.data(), n_ * hidden_, 0.0F);
    }
  } else if (which == Tap::kLogits) {
    alter_logits(values);
  }
}

void CpuBackend::FaultPass::alter_logits(std::vector<float>& logits) const {
  const auto vocab = static_cast<std::size_t>(spec_.vocab_rows);
  const std::vector<bool> usable = self_.model_->usable_rows();
  for (std::size_t begin = 0; begin < logits.size(); begin += vocab) {
    float* row = logits.data() + begin;
    if (active(Kind::kHeadUnwritten) != nullptr) {
      std::fill(row + vocab / 2, row + vocab, 0.0F);
    }
    if (active(Kind::kHeadLeftover) != nullptr) {
      const float top = *std::max_element(row, row + vocab);
      for (std::size_t i = 0; i < vocab; ++i) {
        row[i] = usable[i] ? row[i] : top + 1.0F;
      }
    }
  }
}

}  // namespace layerscope::backend

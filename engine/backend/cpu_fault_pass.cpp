#include "engine/backend/cpu_fault_pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/backend/fault_plan.h"
#include "engine/base/half.h"

namespace layerscope::backend {

using capture::Tap;
using Kind = model::InterventionKind;

void CpuBackend::FaultPass::embed(std::int32_t id, int position, float* out) {
  id = embedding_row(self_.faults_, id, spec_.vocab_rows);
  if (active(Kind::kEmbeddingUnscaled)) {
    kernels::dequantize_row(weights_.embedding.dtype,
                            weights_.embedding.row(static_cast<std::size_t>(id)), hidden_, out);
  } else {
    Pass::embed(id, position, out);
  }
  edit_rows(self_.faults_, spec_, {}, Tap::kEmbedding, -1, std::span(out, hidden_), 1);
}

void CpuBackend::FaultPass::normalise_heads(int layer) {
  if (!active(Kind::kQkNormOff, layer)) {
    Pass::normalise_heads(layer);
  }
}

void CpuBackend::FaultPass::route(int layer, std::size_t token) {
  const auto n_experts = static_cast<std::size_t>(spec_.n_experts);
  const auto used = static_cast<std::size_t>(spec_.n_experts_used);
  const bool shifted = active(Kind::kRouteShifted, layer) && used < n_experts;
  const bool normalise = spec_.expert_weights_norm && !active(Kind::kRouteUnnormalised, layer);
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
  if (!active(Kind::kLogitCapOff)) {
    Pass::finish_logits(logits);
  } else if (spec_.logit_scale != 1.0F) {
    kernels::scale_in_place(logits.data(), logits.size(), spec_.logit_scale);
  }
}

/// `head` −1: a key head.
void CpuBackend::FaultPass::rotate(int layer, int head, std::size_t token, float* values) const {
  const RotationPlan plan = rotation_plan(self_.faults_, layer, head);
  if (plan.off || !spec_.layer_rotates(layer)) {
    return;
  }
  const auto rope_dim = static_cast<std::size_t>(spec_.rope_dim);
  const float* angles = cos_sin(layer, token);
  std::vector<float> other(rope_dim);
  if (plan.base > 0.0) {
    const std::vector<double> inv_freq = wrong_frequencies(spec_, layer, plan.base);
    kernels::rope_angles(request_.position + static_cast<int>(token), inv_freq.data(),
                         inv_freq.size(), other.data(), spec_.rope_factor);
    angles = other.data();
  }
  const kernels::RopePairing pairing =
      plan.other_pairing ? other_pairing(spec_.rope_pairing) : spec_.rope_pairing;
  kernels::rope_apply(values, angles, rope_dim, pairing);
  if (plan.twice) {
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
  const StorePlan plan =
      store_plan(self_.faults_, layer, own, self_.context_, decoding, self_.stuck_slot_);
  for (int h = 0; h < spec_.n_kv_heads; ++h) {
    if (plan.clear >= 0) {
      std::fill_n(self_.cache_.key(layer, h, plan.clear), head_dim_, 0.0F);
      std::fill_n(self_.cache_.value(layer, h, plan.clear), head_dim_, 0.0F);
    }
    if (plan.copy_from >= 0) {
      std::copy_n(self_.cache_.key(layer, h, plan.copy_from), head_dim_,
                  self_.cache_.key(layer, h, own));
      std::copy_n(self_.cache_.value(layer, h, plan.copy_from), head_dim_,
                  self_.cache_.value(layer, h, own));
    }
  }
  if (plan.write >= 0) {
    write_slot(layer, token, plan.write);
  }
  written_late_ = plan.late;
}

void CpuBackend::FaultPass::attend(int layer) {
  if (!attends_wrongly(self_.faults_, layer)) {
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
  if (written_late_) {
    write_slot(layer, 0, request_.position);
  }
}

void CpuBackend::FaultPass::attend_head(int layer, int head, std::size_t token, float* scores,
                                        float* weights) {
  const HeadPlan plan = head_plan(self_.faults_, spec_, layer, head);
  const std::size_t own = static_cast<std::size_t>(request_.position) + token + 1;
  const std::size_t seen = plan.sees_all ? static_cast<std::size_t>(request_.position) + n_ : own;
  const std::size_t first = plan.ignores_window
                                ? 0
                                : static_cast<std::size_t>(spec_.first_key(
                                      layer, request_.position + static_cast<int>(token)));
  const float* q = buf_.q.data() + token * q_width_ + static_cast<std::size_t>(head) * head_dim_;
  const float* k = self_.cache_.key(layer, plan.kv_head, 0);
  const float* v = self_.cache_.value(layer, plan.kv_head, 0);
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
      if (plan.half_scores) {
        dot = static_cast<double>(f16_to_f32(f32_to_f16(static_cast<float>(dot))));
      }
    }
    const double scaled = dot * plan.scale;
    row[j] = static_cast<double>(
        static_cast<float>(plan.cap > 0.0 ? plan.cap * std::tanh(scaled / plan.cap) : scaled));
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
  if (!plan.unnormalised) {
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
  if (!skips_addition(self_.faults_, block, layer)) {
    Pass::add_block(block, layer);
  }
}

void CpuBackend::FaultPass::alter(Tap which, int layer, std::vector<float>& values) {
  if (edits_rows(self_.faults_, which, layer)) {
    const std::size_t rows = which == Tap::kLogits && !request_.all_logits ? 1 : n_;
    edit_rows(self_.faults_, spec_, self_.model_->usable_rows(), which, layer, values, rows);
  }
}

}  // namespace layerscope::backend

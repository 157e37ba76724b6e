#include "engine/backend/fault_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace layerscope::backend {

using capture::Tap;
using Kind = model::InterventionKind;
using List = std::span<const model::Intervention>;

namespace {

bool active(List list, Kind kind, int layer = -1, int head = -1) {
  return model::find(list, kind, layer, head) != nullptr;
}

/// Columns [first, first + width) of every row become zero.
void clear_columns(std::span<float> values, std::size_t n, std::size_t first, std::size_t width) {
  const std::size_t row = values.size() / n;
  for (std::size_t t = 0; t < n; ++t) {
    std::fill_n(values.data() + t * row + first, width, 0.0F);
  }
}

void edit_ffn_out(List list, int layer, std::span<float> values, std::size_t n) {
  const std::size_t hidden = values.size() / n;
  if (const model::Intervention* channel = model::find(list, Kind::kChannel, layer)) {
    for (std::size_t t = 0; t < n; ++t) {
      values[t * hidden + static_cast<std::size_t>(channel->index)] *=
          static_cast<float>(channel->amount);
    }
  }
  if (active(list, Kind::kNan, layer)) {
    values[(n - 1) * hidden] = std::numeric_limits<float>::quiet_NaN();
  }
  if (active(list, Kind::kAblateFfn, layer)) {
    std::fill(values.begin(), values.end(), 0.0F);
  }
}

void edit_logits(List list, const std::vector<bool>& usable, std::span<float> values,
                 std::size_t n) {
  const std::size_t vocab = values.size() / n;
  for (std::size_t begin = 0; begin < values.size(); begin += vocab) {
    const std::span<float> row = values.subspan(begin, vocab);
    if (active(list, Kind::kHeadUnwritten)) {
      std::fill(row.begin() + static_cast<std::ptrdiff_t>(vocab / 2), row.end(), 0.0F);
    }
    if (active(list, Kind::kHeadLeftover)) {
      const float top = *std::max_element(row.begin(), row.end());
      for (std::size_t i = 0; i < vocab; ++i) {
        row[i] = usable[i] ? row[i] : top + 1.0F;
      }
    }
  }
}

}  // namespace

RotationPlan rotation_plan(List list, int layer, int head) {
  const auto hit = [&](Kind kind) {
    const model::Intervention* item = model::find(list, kind, layer, head);
    return item != nullptr && (head >= 0 || item->head < 0) ? item : nullptr;
  };
  RotationPlan plan;
  plan.off = hit(Kind::kRopeOff) != nullptr;
  plan.twice = hit(Kind::kRopeTwice) != nullptr;
  plan.other_pairing = hit(Kind::kRopePairing) != nullptr;
  if (const model::Intervention* base = hit(Kind::kRopeBase)) {
    plan.base = base->amount;
  }
  return plan;
}

std::vector<double> wrong_frequencies(const model::DecoderSpec& spec, int layer, double base) {
  const bool own = spec.rope_base_windowed > 0.0 && spec.layer_windowed(layer);
  constexpr double kAnother = 5e5;  // where the wrong base happens to be the layer's own
  model::DecoderSpec changed = spec;
  changed.rope_scaling = own ? model::RopeScaling::kNone : spec.rope_scaling;
  return model::rope_frequencies(changed, own && base == spec.rope_base_windowed ? kAnother : base);
}

kernels::RopePairing other_pairing(kernels::RopePairing pairing) {
  return pairing == kernels::RopePairing::kHalf ? kernels::RopePairing::kAdjacent
                                                : kernels::RopePairing::kHalf;
}

StorePlan store_plan(List list, int layer, int own, int context, bool decoding, int& stuck_slot) {
  StorePlan plan;
  if (active(list, Kind::kKvOffByOne, layer)) {
    plan.clear = own == 0 ? 0 : -1;
    plan.write = own + 1 < context ? own + 1 : -1;
    return plan;
  }
  if (active(list, Kind::kKvStuck, layer) && decoding) {
    if (stuck_slot < 0) {
      stuck_slot = own;
    }
    plan.clear = own;
    plan.write = stuck_slot;
    return plan;
  }
  if (active(list, Kind::kKvStale, layer) && decoding) {
    plan.copy_from = own - 1;
    plan.late = true;
    return plan;
  }
  const model::Intervention* zero = model::find(list, Kind::kKvZero, layer);
  (zero != nullptr && zero->index == own ? plan.clear : plan.write) = own;
  return plan;
}

HeadPlan head_plan(List list, const model::DecoderSpec& spec, int layer, int head) {
  HeadPlan plan;
  plan.kv_head = head / spec.heads_per_kv();
  if (active(list, Kind::kGqaModulo, layer, head)) {
    plan.kv_head = head % spec.n_kv_heads;
  }
  if (active(list, Kind::kGqaFirst, layer, head)) {
    plan.kv_head = 0;
  }
  const model::Intervention* factor = model::find(list, Kind::kAttentionScale, layer, head);
  plan.scale =
      static_cast<double>(spec.attention_scale) * (factor != nullptr ? factor->amount : 1.0);
  plan.sees_all = active(list, Kind::kMaskOff, layer, head);
  plan.unnormalised = active(list, Kind::kSoftmaxUnnormalised, layer, head);
  plan.half_scores = active(list, Kind::kScoreF16, layer, head);
  plan.cap =
      active(list, Kind::kScoreCapOff, layer, head) ? 0.0 : static_cast<double>(spec.attention_cap);
  plan.ignores_window = active(list, Kind::kWindowOff, layer, head);
  return plan;
}

bool attends_wrongly(List list, int layer) {
  return active(list, Kind::kAttentionScale, layer) ||
         active(list, Kind::kSoftmaxUnnormalised, layer) || active(list, Kind::kMaskOff, layer) ||
         active(list, Kind::kGqaModulo, layer) || active(list, Kind::kGqaFirst, layer) ||
         active(list, Kind::kScoreF16, layer) || active(list, Kind::kScoreCapOff, layer) ||
         active(list, Kind::kWindowOff, layer);
}

std::int32_t embedding_row(List list, std::int32_t id, int vocab_rows) {
  return active(list, Kind::kEmbeddingShift) ? (id + 1) % vocab_rows : id;
}

bool skips_addition(List list, Tap block, int layer) {
  return block == Tap::kAttnOut && active(list, Kind::kResidualSkip, layer);
}

bool edits_rows(List list, Tap which, int layer) {
  switch (which) {
    case Tap::kEmbedding:
      return active(list, Kind::kEmbeddingZero);
    case Tap::kAttnContext:
      return active(list, Kind::kAblateHead, layer);
    case Tap::kAttnOut:
      return active(list, Kind::kAblateAttention, layer);
    case Tap::kFfnOut:
      return active(list, Kind::kChannel, layer) || active(list, Kind::kNan, layer) ||
             active(list, Kind::kAblateFfn, layer);
    case Tap::kLogits:
      return active(list, Kind::kHeadUnwritten) || active(list, Kind::kHeadLeftover);
    default:
      return false;
  }
}

void edit_rows(List list, const model::DecoderSpec& spec, const std::vector<bool>& usable,
               Tap which, int layer, std::span<float> values, std::size_t n) {
  if (!edits_rows(list, which, layer)) {
    return;
  }
  if (which == Tap::kAttnContext) {
    const auto head_dim = static_cast<std::size_t>(spec.head_dim);
    for (int h = 0; h < spec.n_heads; ++h) {
      if (active(list, Kind::kAblateHead, layer, h)) {
        clear_columns(values, n, static_cast<std::size_t>(h) * head_dim, head_dim);
      }
    }
  } else if (which == Tap::kFfnOut) {
    edit_ffn_out(list, layer, values, n);
  } else if (which == Tap::kLogits) {
    edit_logits(list, usable, values, n);
  } else {
    std::fill(values.begin(), values.end(), 0.0F);
  }
}

}  // namespace layerscope::backend

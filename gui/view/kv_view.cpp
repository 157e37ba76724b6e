#include "gui/view/kv_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gui/view/pooling.h"

namespace layerscope::gui::view {

const char* slot_state_name(SlotState state) {
  switch (state) {
    case SlotState::kEmpty:
      return "empty";
    case SlotState::kWritten:
      return "written";
    case SlotState::kStale:
      return "stale";
    case SlotState::kZero:
      return "zero";
    case SlotState::kNonFinite:
      return "NaN or Inf";
  }
  return "";
}

SlotState slot_state(const capture::CacheStats& stats, int layer, int head, int slot) {
  if (slot < 0 || slot >= stats.n_slots) {
    return SlotState::kEmpty;
  }
  const capture::SlotStats& entry = stats.at(layer, head, slot);
  if (entry.non_finite > 0) {
    return SlotState::kNonFinite;
  }
  if (slot >= stats.kv_len) {
    return entry.zero ? SlotState::kEmpty : SlotState::kStale;
  }
  return entry.zero ? SlotState::kZero : SlotState::kWritten;
}

void KvMapMaker::start(const capture::CacheStats& stats, KvShow show, int most) {
  stats_ = &stats;
  show_ = show;
  row_ = 0;
  map_ = {};
  map_.rows = stats.n_layers * stats.n_kv_heads;
  if (map_.rows == 0 || stats.n_slots == 0 ||
      stats.slots.size() <
          static_cast<std::size_t>(map_.rows) * static_cast<std::size_t>(stats.n_slots)) {
    map_.rows = 0;
    return;
  }
  map_.bin = std::max(1, (stats.n_slots + most - 1) / std::max(most, 1));
  map_.columns = (stats.n_slots + map_.bin - 1) / map_.bin;
  map_.cells.assign(static_cast<std::size_t>(map_.rows) * static_cast<std::size_t>(map_.columns),
                    HeatmapData::kHole);
}

void KvMapMaker::add_row() {
  const int layer = row_ / stats_->n_kv_heads;
  const int head = row_ % stats_->n_kv_heads;
  float* cells =
      map_.cells.data() + static_cast<std::size_t>(row_) * static_cast<std::size_t>(map_.columns);
  for (int first = 0; first < stats_->n_slots; first += map_.bin, ++cells) {
    const int end = std::min(first + map_.bin, stats_->n_slots);
    for (int slot = first; slot < end; ++slot) {
      const SlotState state = slot_state(*stats_, layer, head, slot);
      ++map_.count[static_cast<std::size_t>(state)];
      if (state == SlotState::kEmpty) {
        continue;
      }
      float value = static_cast<float>(state);
      if (show_ != KvShow::kState) {
        const capture::SlotStats& entry = stats_->at(layer, head, slot);
        value = state == SlotState::kNonFinite
                    ? std::nanf("")
                    : (show_ == KvShow::kKeyNorm ? entry.k_l2 : entry.v_l2);
      }
      *cells = pool_max(*cells, value);
    }
  }
  ++row_;
}

bool KvMapMaker::advance(std::size_t budget) {
  std::size_t seen = 0;
  while (!done() && (seen == 0 || seen < budget)) {
    add_row();
    seen += static_cast<std::size_t>(stats_->n_slots);
  }
  if (!done()) {
    return false;
  }
  if (show_ == KvShow::kState) {
    map_.hi = 4.0F;
  } else {
    const Range range = robust_range(map_.cells, 0.0, 0.001);
    map_.lo = 0.0F;
    map_.hi = range.hi > 0.0F ? range.hi : 1.0F;
  }
  return true;
}

KvMap kv_map(const capture::CacheStats& stats, KvShow show, int most) {
  KvMapMaker maker;
  maker.start(stats, show, most);
  maker.advance(static_cast<std::size_t>(-1));
  return std::move(maker.map());
}

std::string readers_text(int n_heads, int n_kv_heads, int kv_head) {
  const int each = std::max(1, n_heads / std::max(1, n_kv_heads));
  const int first = kv_head * each;
  return each == 1 ? fmt::format("{}", first) : fmt::format("{} – {}", first, first + each - 1);
}

}  // namespace layerscope::gui::view

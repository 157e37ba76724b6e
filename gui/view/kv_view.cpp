#include "gui/view/kv_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

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

KvMap kv_map(const capture::CacheStats& stats, KvShow show, int most) {
  KvMap map;
  map.rows = stats.n_layers * stats.n_kv_heads;
  if (map.rows == 0 || stats.n_slots == 0 ||
      stats.slots.size() <
          static_cast<std::size_t>(map.rows) * static_cast<std::size_t>(stats.n_slots)) {
    map.rows = 0;
    return map;
  }
  map.bin = std::max(1, (stats.n_slots + most - 1) / std::max(most, 1));
  map.columns = (stats.n_slots + map.bin - 1) / map.bin;
  map.cells.assign(static_cast<std::size_t>(map.rows) * static_cast<std::size_t>(map.columns),
                   HeatmapData::kHole);
  for (int row = 0; row < map.rows; ++row) {
    const int layer = row / stats.n_kv_heads;
    const int head = row % stats.n_kv_heads;
    for (int slot = 0; slot < stats.n_slots; ++slot) {
      const SlotState state = slot_state(stats, layer, head, slot);
      ++map.count[static_cast<std::size_t>(state)];
      float value = static_cast<float>(state);
      if (show != KvShow::kState && state != SlotState::kEmpty) {
        const capture::SlotStats& entry = stats.at(layer, head, slot);
        value = state == SlotState::kNonFinite
                    ? std::nanf("")
                    : (show == KvShow::kKeyNorm ? entry.k_l2 : entry.v_l2);
      } else if (state == SlotState::kEmpty) {
        continue;
      }
      float& cell =
          map.cells[static_cast<std::size_t>(row) * static_cast<std::size_t>(map.columns) +
                    static_cast<std::size_t>(slot / map.bin)];
      cell = pool_max(cell, value);
    }
  }
  if (show == KvShow::kState) {
    map.hi = 4.0F;
  } else {
    const Range range = robust_range(map.cells, 0.0, 0.001);
    map.lo = 0.0F;
    map.hi = range.hi > 0.0F ? range.hi : 1.0F;
  }
  return map;
}

std::string readers_text(int n_heads, int n_kv_heads, int kv_head) {
  const int each = std::max(1, n_heads / std::max(1, n_kv_heads));
  const int first = kv_head * each;
  return each == 1 ? fmt::format("{}", first) : fmt::format("{} – {}", first, first + each - 1);
}

}  // namespace layerscope::gui::view

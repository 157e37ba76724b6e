// KV cache view: the state of every slot as a map of layers and KV heads × slots. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/capture/cache_stats.h"
#include "gui/view/heatmap.h"

namespace layerscope::gui::view {

/// What stands in a slot of one KV head. Later ones win where a cell of the map covers several.
enum class SlotState : std::uint8_t {
  kEmpty,      ///< never written
  kWritten,    ///< read by attention, finite, not all zero
  kStale,      ///< written before a rewind; attention no longer reads it
  kZero,       ///< read by attention but zero throughout: a hole
  kNonFinite,  ///< holds NaN or an infinity
};
const char* slot_state_name(SlotState state);

SlotState slot_state(const capture::CacheStats& stats, int layer, int head, int slot);

/// What the map's colours say.
enum class KvShow : std::uint8_t { kState, kKeyNorm, kValueNorm };

struct KvMap {
  int rows = 0;              ///< layers × KV heads, layer by layer
  int columns = 0;           ///< cells along the slots
  int bin = 1;               ///< slots per cell
  std::vector<float> cells;  ///< [rows][columns]: the state's number, or the largest norm
  float lo = 0.0F, hi = 1.0F;
  std::array<std::uint64_t, 5> count{};  ///< slots by state, all layers and heads
};

/// At most `most` cells along the slots.
KvMap kv_map(const capture::CacheStats& stats, KvShow show, int most);

/// The same some rows at a time: a cache of 32k tokens of an 8B model has 8 million slots, more
/// than fit into a frame.
class KvMapMaker {
 public:
  /// `stats` must live until `advance` has said true or another start.
  void start(const capture::CacheStats& stats, KvShow show, int most);
  /// Looks at about `budget` more slots (a million take 2 to 5 ms); true when map() is whole.
  bool advance(std::size_t budget);
  [[nodiscard]] bool done() const { return row_ >= map_.rows; }
  [[nodiscard]] KvMap& map() { return map_; }

 private:
  void add_row();

  const capture::CacheStats* stats_ = nullptr;
  KvShow show_ = KvShow::kState;
  int row_ = 0;
  KvMap map_;
};

/// Query heads that read a KV head: "0 – 6".
std::string readers_text(int n_heads, int n_kv_heads, int kv_head);

}  // namespace layerscope::gui::view

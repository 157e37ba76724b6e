// Attention detail: one head's map with axes, crosshair, row sums, exact values and scale. UI
// thread.
#pragma once

#include <algorithm>
#include <vector>

#include "gui/panels/ui.h"
#include "gui/view/attention_map.h"

namespace layerscope::gui {

class AttentionDetail {
 public:
  void draw(Ui& ui, ImVec2 room);
  /// The width that the map can use at that height.
  static float wanted_width(const Ui& ui, float height);

 private:
  /// What stands around the map at a given size of the panel.
  struct Margins {
    float labels;  ///< left and below; 0 where there is no room for labels
    float strip;   ///< row sums, on the right
    float footer;  ///< exact values and colour bar
  };
  static Margins margins(const Ui& ui, ImVec2 room);
  struct Geometry {
    ImVec2 min;      ///< of the map
    float side = 0;  ///< pixels
    float cell = 0;  ///< pixels per cell
  };
  /// What the map shows: the engine's picture, or what came with the frames.
  struct Shown {
    HeatmapData data;
    backend::MapRect rect;
    bool picture = false;
    std::size_t non_finite = 0;
    [[nodiscard]] int cells() const { return std::max({rect.rows(), rect.columns(), 1}); }
    [[nodiscard]] int row_of(int query) const { return (query - rect.first_query) / rect.bin; }
    [[nodiscard]] int column_of(int key) const { return (key - rect.first_key) / rect.bin; }
    [[nodiscard]] bool has_query(int query) const {
      return query >= rect.first_query && query < rect.first_query + rect.n_queries;
    }
    [[nodiscard]] bool has_key(int key) const {
      return key >= rect.first_key && key < rect.first_key + rect.n_keys;
    }
  };
  /// The query and key under the crosshair; exact also where a cell covers several tokens.
  struct Point {
    int q = -1;
    int k = -1;
  };
  void update(Ui& ui);
  void update_picture(Ui& ui);
  void update_rows(Ui& ui);
  [[nodiscard]] bool can_zoom(const Ui& ui) const;
  void zoom(Ui& ui, const Geometry& map, Point under);
  [[nodiscard]] Point strongest(const Ui& ui, int row, int column) const;
  void axes(Ui& ui, const Geometry& map) const;
  void crosshair(Ui& ui, const Geometry& map, Point at) const;
  void sums(Ui& ui, const Geometry& map);
  void line(Ui& ui, Point at, bool hovered) const;

  view::AttentionMap map_;
  Shown shown_;
  backend::MapView zoom_;     ///< the part looked at; layer −1: all of it
  backend::MapRect dragged_;  ///< what was shown when a drag began
  view::RowSums row_sums_;
  std::vector<float> sums_;
  std::uint64_t sums_version_ = 0;
  std::uint64_t sums_snapshot_ = 0;
  int sums_head_ = -1;
  backend::MapRect sums_rect_;
  int requested_at_ = -1000;  ///< frames at the last request, to space them out while running
};

}  // namespace layerscope::gui

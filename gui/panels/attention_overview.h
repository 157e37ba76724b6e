// Attention overview: layers × heads thumbnails, all from one texture. UI thread.
#pragma once

#include <cstdint>

#include "gui/panels/ui.h"
#include "gui/view/thumbnails.h"

namespace layerscope::gui {

class AttentionOverview {
 public:
  /// Draws the grid into `room`; large models scroll inside it.
  void draw(Ui& ui, ImVec2 room);
  /// The height that the grid would like at that width.
  [[nodiscard]] float wanted_height(const Ui& ui, ImVec2 room) const;

 private:
  struct Cell {
    float size;  ///< side of one thumbnail
    float gap;
    float margin_x, margin_y;  ///< room for the labels
  };
  [[nodiscard]] Cell cell_size(const Ui& ui, ImVec2 room) const;
  void grid(Ui& ui);
  void thumbnail(Ui& ui, int layer, int head, ImVec2 min, float size, TextureHandle texture) const;
  static void hover(Ui& ui, int layer, int head);
  static void layer_badge(Ui& ui, const view::Badge& badge, int layer, ImVec2 at, ImVec2 room,
                          bool hovered);

  /// What the grid shows: `used` of `side` cells of each head in each direction.
  struct Atlas {
    HeatmapData data;
    int layers = 0, heads = 0, side = 1, used = 0;
  };
  void update(Ui& ui);

  view::Thumbnails thumbnails_;
  Atlas atlas_;
};

}  // namespace layerscope::gui

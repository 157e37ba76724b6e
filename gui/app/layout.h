// Layout: where each region of the window lies. Pure arithmetic, no Dear ImGui.
//
// Sizes are in pixels; the user's splitter positions are kept in unscaled units, so that they mean
// the same at every DPI. A splitter never pushes another region below its minimum.
#pragma once

namespace layerscope::gui {

struct Rect {
  float x = 0.0F, y = 0.0F, width = 0.0F, height = 0.0F;
  [[nodiscard]] float right() const { return x + width; }
  [[nodiscard]] float bottom() const { return y + height; }
};

/// A bottom height from which on the tabs take the whole room between the bars.
inline constexpr float kWholeBottom = 4000.0F;

/// Remembered splitter positions in unscaled pixels; 0 = never dragged, take the default.
struct LayoutSettings {
  float left = 0.0F;
  float right = 0.0F;
  float bottom = 0.0F;
};

struct Layout {
  Rect top, left, centre, right, bottom, status;
  Rect split_left, split_right, split_bottom;  ///< where the mouse grabs
};

/// Regions for a window of `width` × `height` pixels at `scale`.
Layout compute_layout(float width, float height, float scale, const LayoutSettings& settings);

enum class Splitter { kLeft, kRight, kBottom };

/// Settings after dragging a splitter by (dx, dy) pixels, starting from `before`.
LayoutSettings drag_splitter(Splitter splitter, float dx, float dy, float width, float height,
                             float scale, const LayoutSettings& before);

/// Height of part `index` of `count` panels that share a column of `height` pixels.
Rect stack_part(const Rect& column, int index, int count);

}  // namespace layerscope::gui

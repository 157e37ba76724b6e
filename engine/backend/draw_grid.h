// A rectangle of cells in a picture's floats. Plain data.
#pragma once

#include <cstddef>

namespace layerscope::backend {

/// Cells that hold nothing (keys after the query, rows that were not captured); the window's hole.
inline constexpr float kDrawHole = -3.402823466e+38F;

/// Cells [height][width] at `offset` floats of the place; only the first used_* hold something, the
/// rest is kDrawHole.
struct DrawGrid {
  std::size_t offset = 0;
  int width = 0, height = 0;
  int used_columns = 0, used_rows = 0;
  [[nodiscard]] bool empty() const { return width <= 0 || height <= 0; }
  [[nodiscard]] std::size_t floats() const {
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  }
};

}  // namespace layerscope::backend

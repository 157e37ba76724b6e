// TileLists: which of Dear ImGui's triangles touch which tile of the window, in the order in which
// they are drawn. Pure; the compute shader tiles.comp colours one tile per work group from it.
//
// Two triangles that make an upright rectangle of one colour (a glyph, a box, an image: nearly
// everything) become one primitive. An opaque box that covers a whole tile hides what came before
// it there, so no pixel is coloured more often than it has to be.
#pragma once

#include <imgui.h>

#include <cstdint>
#include <span>
#include <vector>

namespace layerscope::gui {

/// As the shader reads it (std430, 48 bytes). Positions are pixels of the image.
struct TilePrimitive {
  /// Rectangle: left, top, right, bottom. Triangle: the first two corners.
  float a[4];
  /// Rectangle: texture coordinates of left top and right bottom. Triangle: the third corner, then
  /// unused.
  float b[4];
  /// Rectangle: its colour (RGBA, red lowest). Triangle: index of its first TileCorner.
  std::uint32_t colour;
  std::uint32_t kind;  ///< texture | flags
  /// Pixels that it may touch, x in the lower half: [min, max).
  std::uint32_t clip_min, clip_max;
};
static_assert(sizeof(TilePrimitive) == 48);

/// A corner of a triangle.
struct TileCorner {
  float u, v;
  std::uint32_t colour;
};
static_assert(sizeof(TileCorner) == 12);

struct TileSize {
  std::uint32_t width = 0, height = 0;  ///< pixels
};

class TileLists {
 public:
  static constexpr std::uint32_t kTile = 16;  ///< pixels on a side; the shader's work group
  static constexpr std::uint32_t kMostTextures = 32;
  // Of TilePrimitive::kind.
  static constexpr std::uint32_t kTriangle = 1U << 16U;
  static constexpr std::uint32_t kTextured = 1U << 17U;  ///< else the colour alone
  static constexpr std::uint32_t kTextureMask = kMostTextures - 1;

  /// Sorts `data` for an image of `size`, at most 65,535 on a side. `white`: texture coordinates
  /// that mean "no texture" in `font`. False: more textures than a frame may have.
  bool build(const ImDrawData& data, TileSize size, ImTextureID font, ImVec2 white);

  [[nodiscard]] std::uint32_t across() const { return across_; }
  [[nodiscard]] std::uint32_t down() const { return down_; }
  [[nodiscard]] std::span<const TilePrimitive> primitives() const { return primitives_; }
  [[nodiscard]] std::span<const TileCorner> corners() const { return corners_; }
  /// First entry of each tile, row by row, and the end: [across · down + 1].
  [[nodiscard]] std::span<const std::uint32_t> starts() const { return starts_; }
  /// Indices into `primitives`.
  [[nodiscard]] std::span<const std::uint32_t> entries() const { return entries_; }
  [[nodiscard]] std::span<const ImTextureID> textures() const { return textures_; }

 private:
  struct Tiles {
    std::uint16_t left, top, right, bottom;  ///< [left, right) × [top, bottom)
  };
  struct Command;  ///< what the triangles of one ImDrawCmd have in common

  bool add_command(const ImDrawList& list, const ImDrawCmd& command, const ImDrawData& data);
  bool add_rectangle(const Command& command, const ImDrawIdx* indices);
  void add_triangle(const Command& command, const ImDrawIdx* indices);
  void note(const TilePrimitive& primitive, float left, float top, float right, float bottom,
            bool opaque);
  [[nodiscard]] int texture_index(ImTextureID texture);
  void fill();

  TileSize size_;
  std::uint32_t across_ = 0, down_ = 0;
  ImTextureID font_ = 0;
  ImVec2 white_;
  std::vector<TilePrimitive> primitives_;
  std::vector<TileCorner> corners_;
  std::vector<Tiles> tiles_;           ///< of each primitive
  std::vector<std::uint32_t> counts_;  ///< entries of each tile
  std::vector<std::uint32_t> firsts_;  ///< first primitive of each tile that is not hidden
  std::vector<std::uint32_t> starts_;
  std::vector<std::uint32_t> entries_;
  std::vector<ImTextureID> textures_;
};

}  // namespace layerscope::gui

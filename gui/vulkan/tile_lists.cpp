#include "gui/vulkan/tile_lists.h"

#include <algorithm>
#include <cmath>

namespace layerscope::gui {
namespace {

constexpr std::uint32_t kOpaque = 0xFF000000U;

std::uint32_t pack(std::uint32_t x, std::uint32_t y) { return x | y << 16U; }

/// Pixels [0, limit] from a coordinate; centres from `v` on are inside.
std::uint32_t first_pixel(float v, std::uint32_t limit) {
  const float pixel = std::ceil(v - 0.5F);
  return pixel <= 0.0F
             ? 0
             : std::min(limit,
                        static_cast<std::uint32_t>(std::min(pixel, static_cast<float>(limit))));
}

bool same(ImVec2 a, ImVec2 b) { return a.x == b.x && a.y == b.y; }

}  // namespace

struct TileLists::Command {
  const ImDrawVert* vertices = nullptr;
  ImVec2 offset, scale;
  std::uint32_t texture = 0;
  bool font = false;
  std::uint32_t left = 0, top = 0, right = 0, bottom = 0;  ///< pixels it may touch

  [[nodiscard]] ImVec2 place(const ImDrawVert& vertex) const {
    return {(vertex.pos.x - offset.x) * scale.x, (vertex.pos.y - offset.y) * scale.y};
  }
};

bool TileLists::build(const ImDrawData& data, TileSize size, ImTextureID font, ImVec2 white) {
  size_ = size;
  across_ = (size.width + kTile - 1) / kTile;
  down_ = (size.height + kTile - 1) / kTile;
  font_ = font;
  white_ = white;
  primitives_.clear();
  corners_.clear();
  tiles_.clear();
  textures_.clear();
  const std::size_t n = static_cast<std::size_t>(across_) * down_;
  counts_.assign(n, 0);
  firsts_.assign(n, 0);
  for (const ImDrawList* list : data.CmdLists) {
    for (const ImDrawCmd& command : list->CmdBuffer) {
      if (command.UserCallback == nullptr && !add_command(*list, command, data)) {
        return false;
      }
    }
  }
  fill();
  return true;
}

int TileLists::texture_index(ImTextureID texture) {
  const auto found = std::find(textures_.begin(), textures_.end(), texture);
  if (found != textures_.end()) {
    return static_cast<int>(found - textures_.begin());
  }
  if (textures_.size() >= kMostTextures) {
    return -1;
  }
  textures_.push_back(texture);
  return static_cast<int>(textures_.size()) - 1;
}

bool TileLists::add_command(const ImDrawList& list, const ImDrawCmd& command,
                            const ImDrawData& data) {
  Command here;
  here.offset = data.DisplayPos;
  here.scale = data.FramebufferScale;
  const auto pixel = [](float v, std::uint32_t limit) {
    return v <= 0.0F ? 0U : static_cast<std::uint32_t>(std::min(v, static_cast<float>(limit)));
  };
  // Whole pixels, as a scissor rectangle has them.
  here.left = pixel((command.ClipRect.x - here.offset.x) * here.scale.x, size_.width);
  here.top = pixel((command.ClipRect.y - here.offset.y) * here.scale.y, size_.height);
  here.right = pixel((command.ClipRect.z - here.offset.x) * here.scale.x, size_.width);
  here.bottom = pixel((command.ClipRect.w - here.offset.y) * here.scale.y, size_.height);
  if (here.left >= here.right || here.top >= here.bottom || command.ElemCount == 0) {
    return true;
  }
  const ImTextureID texture = command.GetTexID();
  const int index = texture_index(texture);
  if (index < 0) {
    return false;
  }
  here.texture = static_cast<std::uint32_t>(index);
  here.font = texture == font_;
  here.vertices = list.VtxBuffer.Data + command.VtxOffset;
  const ImDrawIdx* indices = list.IdxBuffer.Data + command.IdxOffset;
  unsigned i = 0;
  while (i + 3 <= command.ElemCount) {
    if (i + 6 <= command.ElemCount && add_rectangle(here, indices + i)) {
      i += 6;
    } else {
      add_triangle(here, indices + i);
      i += 3;
    }
  }
  return true;
}

/// Whether the next two triangles are an upright rectangle of one colour; then it is taken in.
bool TileLists::add_rectangle(const Command& command, const ImDrawIdx* indices) {
  if (indices[3] != indices[0] || indices[4] != indices[2]) {
    return false;
  }
  const ImDrawVert& a = command.vertices[indices[0]];
  const ImDrawVert& b = command.vertices[indices[1]];
  const ImDrawVert& c = command.vertices[indices[2]];
  const ImDrawVert& d = command.vertices[indices[5]];
  if (a.pos.y != b.pos.y || b.pos.x != c.pos.x || c.pos.y != d.pos.y || d.pos.x != a.pos.x ||
      a.uv.y != b.uv.y || b.uv.x != c.uv.x || c.uv.y != d.uv.y || d.uv.x != a.uv.x ||
      a.col != b.col || a.col != c.col || a.col != d.col) {
    return false;
  }
  ImVec2 min = command.place(a);
  ImVec2 max = command.place(c);
  ImVec2 uv_min = a.uv;
  ImVec2 uv_max = c.uv;
  if (min.x > max.x) {
    std::swap(min.x, max.x);
    std::swap(uv_min.x, uv_max.x);
  }
  if (min.y > max.y) {
    std::swap(min.y, max.y);
    std::swap(uv_min.y, uv_max.y);
  }
  const bool textured = !(command.font && same(a.uv, white_) && same(c.uv, white_));
  TilePrimitive primitive{};
  primitive.a[0] = min.x;
  primitive.a[1] = min.y;
  primitive.a[2] = max.x;
  primitive.a[3] = max.y;
  primitive.b[0] = uv_min.x;
  primitive.b[1] = uv_min.y;
  primitive.b[2] = uv_max.x;
  primitive.b[3] = uv_max.y;
  primitive.colour = a.col;
  primitive.kind = command.texture | (textured ? kTextured : 0U);
  primitive.clip_min = pack(command.left, command.top);
  primitive.clip_max = pack(command.right, command.bottom);
  note(primitive, min.x, min.y, max.x, max.y, !textured && (a.col & kOpaque) == kOpaque);
  return true;
}

void TileLists::add_triangle(const Command& command, const ImDrawIdx* indices) {
  const ImDrawVert& a = command.vertices[indices[0]];
  const ImDrawVert& b = command.vertices[indices[1]];
  const ImDrawVert& c = command.vertices[indices[2]];
  const ImVec2 p = command.place(a);
  const ImVec2 q = command.place(b);
  const ImVec2 r = command.place(c);
  const bool textured =
      !(command.font && same(a.uv, white_) && same(b.uv, white_) && same(c.uv, white_));
  TilePrimitive primitive{};
  primitive.a[0] = p.x;
  primitive.a[1] = p.y;
  primitive.a[2] = q.x;
  primitive.a[3] = q.y;
  primitive.b[0] = r.x;
  primitive.b[1] = r.y;
  primitive.colour = static_cast<std::uint32_t>(corners_.size());
  primitive.kind = command.texture | kTriangle | (textured ? kTextured : 0U);
  primitive.clip_min = pack(command.left, command.top);
  primitive.clip_max = pack(command.right, command.bottom);
  const std::size_t before = primitives_.size();
  note(primitive, std::min({p.x, q.x, r.x}), std::min({p.y, q.y, r.y}), std::max({p.x, q.x, r.x}),
       std::max({p.y, q.y, r.y}), false);
  if (primitives_.size() != before) {
    corners_.push_back({a.uv.x, a.uv.y, a.col});
    corners_.push_back({b.uv.x, b.uv.y, b.col});
    corners_.push_back({c.uv.x, c.uv.y, c.col});
  }
}

/// Counts `primitive`, which lies in [left, right] × [top, bottom], in the tiles that it touches.
void TileLists::note(const TilePrimitive& primitive, float left, float top, float right,
                     float bottom, bool opaque) {
  const auto x0 = std::max(first_pixel(left, size_.width), primitive.clip_min & 0xFFFFU);
  const auto y0 = std::max(first_pixel(top, size_.height), primitive.clip_min >> 16U);
  const auto x1 = std::min(first_pixel(right, size_.width), primitive.clip_max & 0xFFFFU);
  const auto y1 = std::min(first_pixel(bottom, size_.height), primitive.clip_max >> 16U);
  // A triangle's last pixel may lie on its right edge; its box is a little generous.
  const std::uint32_t more = (primitive.kind & kTriangle) != 0 ? 1 : 0;
  if (x0 >= x1 + more || y0 >= y1 + more || !(right >= left) || !(bottom >= top)) {
    return;
  }
  Tiles tiles{};
  tiles.left = static_cast<std::uint16_t>(x0 / kTile);
  tiles.top = static_cast<std::uint16_t>(y0 / kTile);
  tiles.right = static_cast<std::uint16_t>(std::min((x1 + more - 1) / kTile + 1, across_));
  tiles.bottom = static_cast<std::uint16_t>(std::min((y1 + more - 1) / kTile + 1, down_));
  const auto index = static_cast<std::uint32_t>(primitives_.size());
  primitives_.push_back(primitive);
  tiles_.push_back(tiles);
  for (std::uint32_t y = tiles.top; y < tiles.bottom; ++y) {
    const bool rows = y * kTile >= y0 && std::min((y + 1) * kTile, size_.height) <= y1;
    for (std::uint32_t x = tiles.left; x < tiles.right; ++x) {
      const std::size_t tile = static_cast<std::size_t>(y) * across_ + x;
      if (opaque && rows && x * kTile >= x0 && std::min((x + 1) * kTile, size_.width) <= x1) {
        counts_[tile] = 0;
        firsts_[tile] = index;
      }
      ++counts_[tile];
    }
  }
}

void TileLists::fill() {
  starts_.resize(counts_.size() + 1);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    starts_[i] = sum;
    sum += counts_[i];
    counts_[i] = starts_[i];  // where the next entry goes
  }
  starts_.back() = sum;
  entries_.resize(sum);
  for (std::uint32_t i = 0; i < primitives_.size(); ++i) {
    const Tiles& tiles = tiles_[i];
    for (std::uint32_t y = tiles.top; y < tiles.bottom; ++y) {
      for (std::uint32_t x = tiles.left; x < tiles.right; ++x) {
        const std::size_t tile = static_cast<std::size_t>(y) * across_ + x;
        if (i >= firsts_[tile]) {
          entries_[counts_[tile]++] = i;
        }
      }
    }
  }
}

}  // namespace layerscope::gui

#include "gui/app/glyph_grid.h"

#include <cmath>

namespace layerscope::gui {
namespace {

/// Samples are taken this far, in texels, beyond a texel's centre. Devices hold the fraction
/// between two texels in 8 bits; some round it, some cut it off: at a quarter of its step both give
/// none.
constexpr double kBias = 1.0 / 1024.0;
constexpr double kMostTexels = 4.0;  ///< of a glyph, per pixel

/// One side of a glyph: where it begins and ends, in pixels and in texels.
struct Side {
  double from, to;
  double texel_from, texel_to;
};

/// False: its texels do not match pixels, so it is left alone.
bool align(Side& side) {
  const double texels = side.texel_to - side.texel_from;
  const double pixels = side.to - side.from;
  if (texels <= 0.0 || pixels <= 0.0) {
    return false;
  }
  const double density = std::round(texels / pixels);
  if (density < 1.0 || density > kMostTexels || std::abs(texels / pixels - density) > 0.01) {
    return false;
  }
  const double at = (0.5 - side.from) * density + side.texel_from;  // of the first pixel's centre
  const double off = at - 0.5;
  side.from += (off - std::round(off)) / density;
  side.to = side.from + texels / density;
  return true;
}

void align(ImDrawVert* corner, const ImTextureData& atlas, const ImDrawData& data) {
  ImDrawVert& a = corner[0];  // top left; then clockwise
  ImDrawVert& c = corner[2];
  const double width = atlas.Width;
  const double height = atlas.Height;
  const double scale_x = data.FramebufferScale.x;
  const double scale_y = data.FramebufferScale.y;
  Side x{(a.pos.x - data.DisplayPos.x) * scale_x, (c.pos.x - data.DisplayPos.x) * scale_x,
         a.uv.x * width, c.uv.x * width};
  Side y{(a.pos.y - data.DisplayPos.y) * scale_y, (c.pos.y - data.DisplayPos.y) * scale_y,
         a.uv.y * height, c.uv.y * height};
  if (!align(x) || !align(y)) {
    return;
  }
  const auto place = [](double value, double scale, float origin) {
    return static_cast<float>(value / scale) + origin;
  };
  const auto coordinate = [](double texel, double size) {
    return static_cast<float>((texel + kBias) / size);
  };
  a.pos = {place(x.from, scale_x, data.DisplayPos.x), place(y.from, scale_y, data.DisplayPos.y)};
  c.pos = {place(x.to, scale_x, data.DisplayPos.x), place(y.to, scale_y, data.DisplayPos.y)};
  a.uv = {coordinate(x.texel_from, width), coordinate(y.texel_from, height)};
  c.uv = {coordinate(x.texel_to, width), coordinate(y.texel_to, height)};
  corner[1].pos = {c.pos.x, a.pos.y};
  corner[3].pos = {a.pos.x, c.pos.y};
  corner[1].uv = {c.uv.x, a.uv.y};
  corner[3].uv = {a.uv.x, c.uv.y};
}

/// Two triangles as ImFont::RenderText writes them: an upright rectangle of the atlas. Lines out of
/// the atlas and filled shapes have no extent there.
bool is_glyph(const ImDrawVert* v) {
  return v[0].pos.x == v[3].pos.x && v[1].pos.x == v[2].pos.x && v[0].pos.y == v[1].pos.y &&
         v[2].pos.y == v[3].pos.y && v[0].uv.x == v[3].uv.x && v[1].uv.x == v[2].uv.x &&
         v[0].uv.y == v[1].uv.y && v[2].uv.y == v[3].uv.y && v[0].uv.x < v[2].uv.x &&
         v[0].uv.y < v[2].uv.y;
}

bool is_quad(const ImDrawIdx* i) {
  return i[1] == i[0] + 1 && i[2] == i[0] + 2 && i[3] == i[0] && i[4] == i[0] + 2 &&
         i[5] == i[0] + 3;
}

}  // namespace

void align_glyphs(ImDrawData& data) {
  for (ImDrawList* list : data.CmdLists) {
    for (const ImDrawCmd& command : list->CmdBuffer) {
      const ImTextureData* atlas = command.TexRef._TexData;  // null for images of our own
      if (atlas == nullptr || command.UserCallback != nullptr) {
        continue;
      }
      const ImDrawIdx* index = list->IdxBuffer.Data + command.IdxOffset;
      const ImDrawIdx* end = index + command.ElemCount;
      while (end - index >= 6) {
        ImDrawVert* corner = list->VtxBuffer.Data + command.VtxOffset + index[0];
        const bool quad = is_quad(index);
        if (quad && is_glyph(corner)) {
          align(corner, *atlas, data);
        }
        index += quad ? 6 : 3;
      }
    }
  }
}

}  // namespace layerscope::gui

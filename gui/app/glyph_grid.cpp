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
  const double sign = side.to < side.from ? -1.0 : 1.0;  // mirrored, pixels' centres stay such
  const double texels = side.texel_to - side.texel_from;
  const double pixels = (side.to - side.from) * sign;
  if (texels <= 0.0 || pixels <= 0.0) {
    return false;
  }
  const double density = std::round(texels / pixels);
  if (density < 1.0 || density > kMostTexels || std::abs(texels / pixels - density) > 0.01) {
    return false;
  }
  const double at = (0.5 - side.from * sign) * density + side.texel_from;  // of a pixel's centre
  const double off = at - 0.5;
  side.from += sign * (off - std::round(off)) / density;
  side.to = side.from + sign * texels / density;
  return true;
}

/// Two triangles as ImFont::RenderText writes them, upright or turned by a quarter: a rectangle of
/// the atlas. Lines out of the atlas and filled shapes have no extent there.
bool is_glyph(const ImDrawVert* v, bool& turned) {
  const auto x = [v](int i) { return v[i].pos.x; };
  const auto y = [v](int i) { return v[i].pos.y; };
  const bool upright = x(0) == x(3) && x(1) == x(2) && y(0) == y(1) && y(2) == y(3);
  turned = !upright && y(0) == y(3) && y(1) == y(2) && x(0) == x(1) && x(2) == x(3);
  return (upright || turned) && v[0].uv.x == v[3].uv.x && v[1].uv.x == v[2].uv.x &&
         v[0].uv.y == v[1].uv.y && v[2].uv.y == v[3].uv.y && v[0].uv.x < v[2].uv.x &&
         v[0].uv.y < v[2].uv.y;
}

/// `v`: a glyph's corners, in the atlas's order. Turned, its rows run along y.
void align(ImDrawVert* v, bool turned, const ImTextureData& atlas, const ImDrawData& data) {
  const auto along = [turned](ImVec2& p) -> float& { return turned ? p.y : p.x; };
  const auto across = [turned](ImVec2& p) -> float& { return turned ? p.x : p.y; };
  ImVec2 origin = data.DisplayPos;
  ImVec2 scale = data.FramebufferScale;
  const auto side = [&](const auto& axis, float texel_from, float texel_to, int size) {
    return Side{double{axis(v[0].pos) - axis(origin)} * axis(scale),
                double{axis(v[2].pos) - axis(origin)} * axis(scale), double{texel_from} * size,
                double{texel_to} * size};
  };
  Side row = side(along, v[0].uv.x, v[2].uv.x, atlas.Width);
  Side column = side(across, v[0].uv.y, v[2].uv.y, atlas.Height);
  if (!align(row) || !align(column)) {
    return;
  }
  const auto place = [&](const auto& axis, double value) {
    return static_cast<float>(value / axis(scale)) + axis(origin);
  };
  const auto coordinate = [](double texel, int size) {
    return static_cast<float>((texel + kBias) / size);
  };
  for (int i = 0; i < 4; ++i) {
    const bool far_along = i == 1 || i == 2;
    const bool far_across = i >= 2;
    along(v[i].pos) = place(along, far_along ? row.to : row.from);
    across(v[i].pos) = place(across, far_across ? column.to : column.from);
    v[i].uv = {coordinate(far_along ? row.texel_to : row.texel_from, atlas.Width),
               coordinate(far_across ? column.texel_to : column.texel_from, atlas.Height)};
  }
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
        bool turned = false;
        if (quad && is_glyph(corner, turned)) {
          align(corner, turned, *atlas, data);
        }
        index += quad ? 6 : 3;
      }
    }
  }
}

}  // namespace layerscope::gui

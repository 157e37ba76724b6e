#include "gui/app/layout.h"

#include <algorithm>

namespace layerscope::gui {
namespace {

// Unscaled pixels.
constexpr float kTop = 44.0F;
constexpr float kStatus = 28.0F;
constexpr float kGrab = 7.0F;  ///< width of the strip that the mouse grabs, centred on the border
constexpr float kMinLeft = 230.0F;
constexpr float kMinRight = 220.0F;
constexpr float kMinCentre = 320.0F;
constexpr float kMinBottom = 110.0F;
constexpr float kMinMiddle = 220.0F;

struct Sizes {
  float left, right, bottom;
};

/// Clamp that survives a window smaller than the minima: the lower bound gives way.
float fit(float value, float low, float high) {
  return std::clamp(value, std::min(low, high), high);
}

Sizes resolve(float width, float height, float scale, const LayoutSettings& settings) {
  const float w = width / scale;
  const float h = std::max(0.0F, height / scale - kTop - kStatus);
  Sizes sizes{};
  if (w < kMinLeft + kMinCentre + kMinRight) {  // below the smallest size: nobody gets all
    sizes.left = 0.3F * w;
    sizes.right = 0.29F * w;
    sizes.bottom = fit(settings.bottom > 0.0F ? settings.bottom : kMinBottom, kMinBottom,
                       std::max(0.0F, h - kMinMiddle));
    sizes.bottom = settings.bottom >= kWholeBottom ? h : sizes.bottom;
    return sizes;
  }
  const float left = settings.left > 0.0F ? settings.left : std::clamp(0.22F * w, 250.0F, 460.0F);
  const float right =
      settings.right > 0.0F ? settings.right : std::clamp(0.21F * w, 230.0F, 460.0F);
  const float bottom =
      settings.bottom > 0.0F ? settings.bottom : std::clamp(0.31F * h, 170.0F, 460.0F);
  sizes.left = fit(left, kMinLeft, std::max(0.0F, w - kMinCentre - kMinRight));
  sizes.right = fit(right, kMinRight, std::max(0.0F, w - kMinCentre - sizes.left));
  sizes.bottom =
      settings.bottom >= kWholeBottom ? h : fit(bottom, kMinBottom, std::max(0.0F, h - kMinMiddle));
  return sizes;
}

}  // namespace

Layout compute_layout(float width, float height, float scale, const LayoutSettings& settings) {
  const Sizes sizes = resolve(width, height, scale, settings);
  const float top = kTop * scale;
  const float status = kStatus * scale;
  const float left = sizes.left * scale;
  const float right = sizes.right * scale;
  const float bottom = sizes.bottom * scale;
  const float middle = std::max(0.0F, height - top - status - bottom);
  Layout layout;
  layout.top = {0.0F, 0.0F, width, top};
  layout.left = {0.0F, top, left, middle};
  layout.centre = {left, top, std::max(0.0F, width - left - right), middle};
  layout.right = {width - right, top, right, middle};
  layout.bottom = {0.0F, top + middle, width, bottom};
  layout.status = {0.0F, height - status, width, status};
  const float grab = kGrab * scale;
  layout.split_left = {left - grab / 2.0F, top, grab, middle};
  layout.split_right = {width - right - grab / 2.0F, top, grab, middle};
  layout.split_bottom = {0.0F, top + middle - grab / 2.0F, width, grab};
  return layout;
}

LayoutSettings drag_splitter(Splitter splitter, float dx, float dy, float width, float height,
                             float scale, const LayoutSettings& before) {
  const Sizes sizes = resolve(width, height, scale, before);
  LayoutSettings wanted = before;
  switch (splitter) {
    case Splitter::kLeft:
      wanted.left = std::max(1.0F, sizes.left + dx / scale);
      wanted.left = resolve(width, height, scale, wanted).left;
      break;
    case Splitter::kRight:
      wanted.right = std::max(1.0F, sizes.right - dx / scale);
      wanted.right = resolve(width, height, scale, wanted).right;
      break;
    case Splitter::kBottom:
      wanted.bottom = std::max(1.0F, sizes.bottom - dy / scale);
      wanted.bottom = resolve(width, height, scale, wanted).bottom;
      break;
  }
  return wanted;
}

Rect stack_part(const Rect& column, int index, int count) {
  const float part = column.height / static_cast<float>(std::max(1, count));
  return {column.x, column.y + part * static_cast<float>(index), column.width, part};
}

}  // namespace layerscope::gui

#include "gui/view/bar_fit.h"

#include <algorithm>

namespace layerscope::gui::view {
namespace {

float total(const std::vector<BarItem>& items, float gap) {
  float sum = 0.0F;
  for (const BarItem& item : items) {
    if (item.shown) {
      sum += (sum > 0.0F ? gap : 0.0F) + item.width;
    }
  }
  return sum;
}

void place(std::vector<BarItem>& items, float x, float gap) {
  for (BarItem& item : items) {
    if (item.shown) {
      item.x = x;
      x += item.width + gap;
    }
  }
}

}  // namespace

void fit_bar(BarGroups& bar, float width, float gap, float group_gap) {
  for (;;) {
    const float left = total(bar.left, gap);
    const float centre = total(bar.centre, gap);
    const float right = total(bar.right, gap);
    if (left + centre + right + 2.0F * group_gap <= width) {
      const float low = left + group_gap;
      const float high = width - right - group_gap - centre;
      place(bar.left, 0.0F, gap);
      place(bar.centre, std::clamp((width - centre) / 2.0F, low, std::max(low, high)), gap);
      place(bar.right, width - right, gap);
      return;
    }
    BarItem* victim = nullptr;
    for (std::vector<BarItem>* group : {&bar.left, &bar.centre, &bar.right}) {
      for (BarItem& item : *group) {
        if (item.shown && item.priority > 0 &&
            (victim == nullptr || item.priority >= victim->priority)) {
          victim = &item;
        }
      }
    }
    if (victim == nullptr) {
      place(bar.left, 0.0F, gap);
      place(bar.centre, left + group_gap, gap);
      place(bar.right, left + centre + 2.0F * group_gap, gap);
      return;
    }
    victim->shown = false;
  }
}

}  // namespace layerscope::gui::view

// Bar fit: which items of a one-line bar are shown at a given width, and where. Pure.
#pragma once

#include <vector>

namespace layerscope::gui::view {

struct BarItem {
  float width = 0.0F;
  int priority = 0;  ///< 0 always stays; the largest goes first when room runs out
  bool shown = true;
  float x = 0.0F;
};

/// Three groups: left, centred, right. Drops items until everything fits, then places them; the
/// centred group moves aside where the others leave too little room in the middle. `gap` stands
/// between items, `group_gap` at least between groups.
struct BarGroups {
  std::vector<BarItem> left, centre, right;
};
void fit_bar(BarGroups& bar, float width, float gap, float group_gap);

}  // namespace layerscope::gui::view

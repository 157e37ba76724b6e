// Parts of the Compare tab: its settings, the list of taps, and the side with map, plot and
// explanations. UI thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gui/panels/ui.h"
#include "gui/view/compare_view.h"

namespace layerscope::gui {

/// What is drawn of the present result; made anew when the result changes.
struct CompareDrawing {
  std::shared_ptr<const session::ComparisonResult> result;
  view::ErrorMap map;
  view::BlockLines lines;
  std::vector<view::PairRow> rows;
  std::vector<std::string> unmatched;
  std::string search;
  bool only_diverging = false;
  std::uint64_t version = 0;

  void follow(const std::shared_ptr<const session::ComparisonResult>& now);
  void list_again();
};

/// Shows where a pair differs: layer, head, position and tensor are selected.
void go_to_pair(Ui& ui, const compare::Pair& pair);

/// Taps with their errors; a click goes there.
void draw_compare_list(Ui& ui, CompareDrawing& drawing);
/// Map of added error, inherited and added by layer, explanations.
void draw_compare_side(Ui& ui, const CompareDrawing& drawing);

}  // namespace layerscope::gui

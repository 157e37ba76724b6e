// "Force another token": the likeliest alternatives at one place, and a search over the vocabulary.
// UI thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gui/panels/ui.h"

namespace layerscope::gui {

class ForcePopup {
 public:
  /// Asks for the token to go on with after `position`.
  void open(int position);
  /// Call every frame in the window that owns the popup.
  void draw(Ui& ui);

 private:
  void candidate(Ui& ui, std::int32_t id, const capture::LogitSummary* summary);

  std::string search_;
  std::string searched_;
  std::vector<std::int32_t> found_;
  int position_ = -1;
  bool opening_ = false;
};

}  // namespace layerscope::gui

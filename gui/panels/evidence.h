// Evidence: one finding in full — where, why, what to do, and captured against expected values. UI
// thread.
#pragma once

#include <cstdint>
#include <string>

#include "gui/panels/ui.h"

namespace layerscope::gui {

class EvidencePane {
 public:
  /// Draws into the current child window; `finding` null says what would stand here.
  void draw(Ui& ui, const diagnose::Finding* finding);

 private:
  void strip(Ui& ui);
  void statistics(Ui& ui) const;
  void values(Ui& ui) const;

  view::EvidenceView view_;
  std::string shown_;  ///< key of the finding in `view_`
  std::uint64_t serial_ = 0;
  std::uint64_t version_ = 0;
};

}  // namespace layerscope::gui

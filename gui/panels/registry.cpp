// The list of panels. Adding one: its file, its factory in panels.h, one line here.
#include "gui/panels/panels.h"

namespace layerscope::gui {

std::vector<PanelEntry> make_panels() {
  const auto titles = std::make_shared<TabTitles>();
  std::vector<PanelEntry> panels;
  panels.push_back({Place::kTop, make_topbar(titles)});
  panels.push_back({Place::kLeft, make_tokens()});
  panels.push_back({Place::kCentre, make_attention()});
  panels.push_back({Place::kRight, make_logits()});
  panels.push_back({Place::kBottom, make_norms()});
  panels.push_back({Place::kBottom, make_findings(titles)});
  panels.push_back({Place::kBottom, make_heads()});
  panels.push_back({Place::kBottom, make_tensors()});
  panels.push_back({Place::kBottom, make_kv_cache()});
  panels.push_back({Place::kBottom, make_compare()});
  panels.push_back({Place::kBottom, make_faults(titles)});
  panels.push_back({Place::kBottom, make_model()});
  panels.push_back({Place::kBottom, make_log()});
  panels.push_back({Place::kStatus, make_status()});
  return panels;
}

}  // namespace layerscope::gui

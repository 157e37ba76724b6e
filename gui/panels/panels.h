// Factories of the panels; registry.cpp puts them in order.
#pragma once

#include <memory>
#include <string>

#include "gui/panels/ui.h"

namespace layerscope::gui {

/// Titles of tabs that count something. The top bar, which is always drawn, keeps them up to date;
/// a tab in the background is not drawn itself.
struct TabTitles {
  std::string findings = "Findings";
  std::string faults = "Faults";
};

std::unique_ptr<Panel> make_topbar(std::shared_ptr<TabTitles> titles);
std::unique_ptr<Panel> make_tokens();
std::unique_ptr<Panel> make_attention();
std::unique_ptr<Panel> make_logits();
std::unique_ptr<Panel> make_norms();
std::unique_ptr<Panel> make_findings(std::shared_ptr<const TabTitles> titles);
std::unique_ptr<Panel> make_heads();
std::unique_ptr<Panel> make_tensors();
std::unique_ptr<Panel> make_compare();
std::unique_ptr<Panel> make_kv_cache();
std::unique_ptr<Panel> make_faults(std::shared_ptr<const TabTitles> titles);
std::unique_ptr<Panel> make_model();
std::unique_ptr<Panel> make_log();
std::unique_ptr<Panel> make_status();

}  // namespace layerscope::gui

// Factories of the panels; registry.cpp puts them in order.
#pragma once

#include <memory>

#include "gui/panels/ui.h"

namespace layerscope::gui {

std::unique_ptr<Panel> make_topbar();
std::unique_ptr<Panel> make_tokens();
std::unique_ptr<Panel> make_attention();
std::unique_ptr<Panel> make_logits();
std::unique_ptr<Panel> make_norms();
std::unique_ptr<Panel> make_heads();
std::unique_ptr<Panel> make_tensors();
std::unique_ptr<Panel> make_model();
std::unique_ptr<Panel> make_log();
std::unique_ptr<Panel> make_status();

}  // namespace layerscope::gui

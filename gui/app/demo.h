// Where the demo model is. Any thread.
#pragma once

#include <string>

namespace layerscope::gui {

/// The demo model beside the program (a build, an installation) or in the working folder; empty
/// where there is none.
std::string find_demo();

}  // namespace layerscope::gui

// Text in HTML pages: the reports that the commands and the window write.
#pragma once

#include <string>
#include <string_view>

namespace layerscope {

/// `text` with &, <, > and " as entities: safe between tags and in double-quoted attributes.
std::string html_escape(std::string_view text);

}  // namespace layerscope

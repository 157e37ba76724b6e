// Findings as text (as JSON: engine/diagnose/finding_json.h; as a page:
// engine/session/findings_page.h).
#pragma once

#include <string>
#include <vector>

#include "engine/diagnose/finding.h"

namespace layerscope::cli {

/// A few lines for a terminal.
std::string finding_text(const diagnose::Finding& finding);

}  // namespace layerscope::cli

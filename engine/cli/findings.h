// Findings as JSON and as text (the HTML page: engine/session/findings_page.h).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/diagnose/finding.h"

namespace layerscope::cli {

/// One finding as `diagnose --json` and the `finding` events write it.
nlohmann::ordered_json finding_json(const diagnose::Finding& finding);

/// A few lines for a terminal.
std::string finding_text(const diagnose::Finding& finding);

}  // namespace layerscope::cli

// A finding as JSON: the one form in which commands and the HTTP worker write it.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/diagnose/finding.h"

namespace layerscope::diagnose {

/// One finding as `diagnose --json` and the `finding` events write it. Numbers that JSON cannot
/// hold become the strings "nan", "inf" and "-inf".
nlohmann::ordered_json finding_json(const Finding& finding);

}  // namespace layerscope::diagnose

// The secret that a worker and its clients share, as a file holds it.
#pragma once

#include <string>

#include "engine/base/result.h"

namespace layerscope::server {

/// The token that a file holds (its first line, without surrounding white space). Errors
/// (kInvalidInput): unreadable, shorter than 16 characters, longer than 512, characters that a
/// header cannot carry.
Result<std::string> read_token(const std::string& path);

}  // namespace layerscope::server

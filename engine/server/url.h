// Url: addresses that users give: the readiness callback, the worker that a window attaches to.
#pragma once

#include <string>

#include "engine/base/result.h"

namespace layerscope::server {

/// "http://host[:port]/path", checked. User names, other schemes and control characters are
/// refused.
struct Url {
  bool tls = false;
  std::string host;
  int port = 80;
  std::string path = "/";
  [[nodiscard]] std::string origin() const;  ///< "http://host:port"
};
/// Error (kUsage).
Result<Url> parse_url(const std::string& text);

}  // namespace layerscope::server

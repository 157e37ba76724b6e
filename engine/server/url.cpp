#include "engine/server/url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace layerscope::server {

std::string Url::origin() const {
  const bool v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", tls ? "https" : "http", v6 ? "[" : "", host, v6 ? "]" : "",
                     port);
}

Result<Url> parse_url(const std::string& text) {
  const auto fail = [](const char* why) {
    return usage_error(
        fmt::format("the address is not usable: {}; write http://HOST:PORT/PATH", why));
  };
  Url url;
  const bool odd = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F;
  });
  if (text.size() > 2048 || odd) {
    return fail("it is too long or holds spaces or control characters");
  }
  std::string_view rest = text;
  if (rest.substr(0, 7) == "http://") {
    rest.remove_prefix(7);
  } else if (rest.substr(0, 8) == "https://") {
    rest.remove_prefix(8);
    url.tls = true;
    url.port = 443;
  } else {
    return fail("it does not begin with http:// or https://");
  }
  const std::size_t slash = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) {
    url.path = std::string(rest.substr(slash));
    url.path = url.path.substr(0, url.path.find('#'));
    if (url.path.empty() || url.path.front() != '/') {
      url.path.insert(0, "/");
    }
  }
  if (authority.find('@') != std::string_view::npos) {
    return fail("it holds a user name");
  }
  std::string_view port;
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) {
      return fail("its bracket is not closed");
    }
    url.host = std::string(authority.substr(1, end - 1));
    port = authority.substr(end + 1);
  } else {
    const std::size_t colon = authority.find(':');
    url.host = std::string(authority.substr(0, colon));
    port = colon == std::string_view::npos ? std::string_view() : authority.substr(colon);
  }
  if (url.host.empty()) {
    return fail("it names no host");
  }
  if (!port.empty()) {
    port.remove_prefix(1);
    const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (failed != std::errc() || end != port.data() + port.size() || url.port < 1 ||
        url.port > 65535) {
      return fail("its port is not a number from 1 to 65535");
    }
  }
  return url;
}

}  // namespace layerscope::server

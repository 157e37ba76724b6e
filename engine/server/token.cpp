#include "engine/server/token.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

namespace layerscope::server {
namespace {

constexpr std::size_t kShortestToken = 16;
constexpr std::size_t kLongestToken = 512;

}  // namespace

Result<std::string> read_token(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string token;
  if (!in || !std::getline(in, token)) {
    return invalid_input(fmt::format("cannot read a token from '{}'", path));
  }
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  token.erase(token.begin(), std::find_if_not(token.begin(), token.end(), space));
  token.erase(std::find_if_not(token.rbegin(), token.rend(), space).base(), token.end());
  if (token.size() < kShortestToken || token.size() > kLongestToken) {
    return invalid_input(
        fmt::format("the token in '{}' has {} characters, {} to {} are needed; 'openssl rand -hex "
                    "32' makes a good one",
                    path, token.size(), kShortestToken, kLongestToken));
  }
  if (!std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7F; })) {
    return invalid_input(fmt::format(
        "the token in '{}' holds characters that a header cannot carry; use printable ASCII",
        path));
  }
  return token;
}

}  // namespace layerscope::server

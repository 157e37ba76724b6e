#include "engine/session/stop_strings.h"

#include <algorithm>
#include <utility>

namespace layerscope::session {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
}

std::string StopStrings::push(std::string_view text) {
  if (hit_) {
    return {};
  }
  held_ += text;
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    first = std::min(first, held_.find(stop));
  }
  if (first != std::string::npos) {
    hit_ = true;
    return std::exchange(held_, {}).substr(0, first);
  }
  // Hold back the longest suffix that begins a stop string.
  std::size_t hold = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > hold; --n) {
      if (std::string_view(held_).substr(held_.size() - n) == std::string_view(stop).substr(0, n)) {
        hold = n;
      }
    }
  }
  std::string out = held_.substr(0, held_.size() - hold);
  held_.erase(0, held_.size() - hold);
  return out;
}

std::string StopStrings::finish() { return hit_ ? std::string() : std::exchange(held_, {}); }

}  // namespace layerscope::session

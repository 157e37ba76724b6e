// StopStrings: ends a text stream at the first of several strings. Text that may still become one
// is held back; the string itself is not given out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace layerscope::session {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);
  /// Text that can be shown after `text` arrived.
  std::string push(std::string_view text);
  /// What was held back at the end (nothing after a hit).
  std::string finish();
  [[nodiscard]] bool hit() const { return hit_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool hit_ = false;
};

}  // namespace layerscope::session

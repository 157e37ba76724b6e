// RemoteDialog: asks for the address and the token of a worker to attach to. UI thread.
//
// The address is remembered while the program runs; the token is kept no longer than needed and
// never stored.
#pragma once

#include <optional>
#include <string>

#include "gui/panels/ui.h"

namespace layerscope::gui {

struct RemoteChoice {
  std::string url;
  std::string token;  ///< empty: none
};

class RemoteDialog {
 public:
  void open() { visible_ = true; }
  /// What was chosen in this frame.
  std::optional<RemoteChoice> draw(Ui& ui, float scale);

 private:
  void field(Ui& ui, const char* id, const char* hint, std::string& value, int flags,
             bool* entered);

  bool visible_ = false;
  std::string url_ = "http://127.0.0.1:9999";
  std::string token_;
};

}  // namespace layerscope::gui

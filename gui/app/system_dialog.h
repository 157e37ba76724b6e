// SystemDialog: the desktop's own file dialog, through zenity or kdialog, as a child process that
// is polled once a frame. UI thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "engine/base/result.h"

namespace layerscope::gui {

class SystemDialog {
 public:
  SystemDialog() = default;
  ~SystemDialog();
  SystemDialog(const SystemDialog&) = delete;
  SystemDialog& operator=(const SystemDialog&) = delete;

  /// "zenity", "kdialog", or empty when neither is on PATH.
  static std::string program();
  /// Starts the dialog. Errors (kDevice): no such program, cannot start.
  Status open(const std::string& folder);
  [[nodiscard]] bool running() const { return child_ > 0; }
  /// The chosen path when the dialog has ended with one; an empty path means cancelled.
  std::optional<std::string> poll();

 private:
  pid_t child_ = -1;
  int output_ = -1;
  std::string text_;
};

}  // namespace layerscope::gui

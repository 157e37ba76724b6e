// SystemDialog: the desktop's own file dialog — through the portal where one answers, otherwise
// zenity or kdialog as a child process. Polled once a frame. UI thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "engine/base/result.h"
#include "gui/app/portal_dialog.h"

namespace layerscope::gui {

class SystemDialog {
 public:
  SystemDialog() = default;
  ~SystemDialog();
  SystemDialog(const SystemDialog&) = delete;
  SystemDialog& operator=(const SystemDialog&) = delete;

  /// "zenity", "kdialog", or empty when neither is on PATH.
  static std::string program();
  /// What `open` would try, in words; empty when there is nothing.
  static std::string ways();
  /// Starts the dialog. Errors (kDevice): there is none, it cannot be started.
  Status open(const std::string& folder);
  [[nodiscard]] bool running() const { return child_ > 0 || portal_.running(); }
  /// "portal", "zenity", "kdialog": what shows the present or last dialog; empty before.
  [[nodiscard]] const std::string& via() const { return via_; }
  /// The chosen path once the dialog has ended; an empty path means cancelled. Where no portal
  /// answers, the program is started instead; an error says that neither is there.
  std::optional<Result<std::string>> poll();

 private:
  Status start_program(const std::string& portal_problem);
  std::optional<Result<std::string>> poll_portal();

  PortalDialog portal_;
  std::string folder_;
  std::string via_;
  pid_t child_ = -1;
  int output_ = -1;
  std::string text_;
};

}  // namespace layerscope::gui

// PortalDialog: the desktop's file chooser through the D-Bus service org.freedesktop.portal.Desktop
// (xdg-desktop-portal), which also works inside a sandbox. The conversation runs on a thread of its
// own, so that no frame waits for the bus; the UI thread starts it and polls.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace layerscope::gui {

struct PortalAnswer {
  bool available = false;  ///< false: there is no portal here, and nothing was shown
  std::string path;        ///< chosen; empty: cancelled, or `problem` says what went wrong
  std::string problem;     ///< in words; empty when all went well
};

class PortalDialog {
 public:
  PortalDialog();
  ~PortalDialog();  ///< Asks the portal to close a dialog that is still open.
  PortalDialog(const PortalDialog&) = delete;
  PortalDialog& operator=(const PortalDialog&) = delete;

  /// Where the session bus is: $DBUS_SESSION_BUS_ADDRESS, else the socket in $XDG_RUNTIME_DIR.
  /// Empty when there is none, or when the program was built without D-Bus.
  static std::string bus_address();
  /// Why no portal can be asked here; empty when one can be tried.
  static std::string why_not();

  /// Asks for one file, beginning in `folder`, on the bus at `address`.
  void open(std::string address, std::string folder);
  [[nodiscard]] bool running() const { return talk_ != nullptr; }
  /// The answer, once.
  std::optional<PortalAnswer> poll();

 private:
  struct Talk;
  std::unique_ptr<Talk> talk_;
};

/// The local path of a "file://" URI (RFC 8089), percent signs decoded. Error (kInvalidInput): it
/// is another kind of place, on another machine, or badly encoded.
Result<std::string> path_of_uri(std::string_view uri);

}  // namespace layerscope::gui

// Platform: where input comes from and how the program waits — a GLFW window, or nothing at all.
// UI thread, except `wake`, which any thread may call.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/base/result.h"

struct GLFWwindow;

namespace layerscope::gui {

class Platform {
 public:
  virtual ~Platform() = default;
  /// Sleeps until an event, a wake-up or `seconds`; 0 only polls.
  virtual void wait(double seconds) = 0;
  virtual void wake() = 0;
  /// What happened since the last call.
  struct Events {
    bool input = false;  ///< the user or the window system did something
    bool woken = false;  ///< wake() was called
  };
  virtual Events take_events() = 0;
  /// Sizes, time and input for Dear ImGui, before ImGui::NewFrame.
  virtual void new_frame() = 0;
  [[nodiscard]] virtual bool close_requested() const = 0;
  /// Scale of the user interface: 1 at 96 dots per inch.
  [[nodiscard]] virtual float scale() const = 0;
  virtual void resize(int width, int height) = 0;
  virtual void set_title(const std::string& title) = 0;
  /// Files dropped since the last call.
  virtual std::vector<std::string> take_drops() = 0;
  /// Command chords (keymap.h) pressed since the last call, in order.
  virtual std::vector<int> take_chords() { return {}; }
  /// take_chords() delivers command chords; nobody else is to look for them.
  [[nodiscard]] virtual bool has_chords() const { return false; }
  /// Window size in screen coordinates, to be remembered.
  [[nodiscard]] virtual int width() const = 0;
  [[nodiscard]] virtual int height() const = 0;
  [[nodiscard]] virtual GLFWwindow* window() const = 0;  ///< null without a window
};

struct PlatformOptions {
  int width = 1600;
  int height = 1000;
  /// Input comes from a script alone: the desktop's mouse and keyboard are not listened to, and
  /// time runs in even steps, so that a script does the same on every machine.
  bool scripted = false;
  float scale = 0.0F;  ///< 0: ask the display
};

/// Error (kDevice): no display, or no window could be opened.
Result<std::unique_ptr<Platform>> make_window_platform(const PlatformOptions& options);
std::unique_ptr<Platform> make_headless_platform(const PlatformOptions& options);

}  // namespace layerscope::gui

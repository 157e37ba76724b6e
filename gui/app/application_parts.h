// Application: what the program's window is made of. Internal to gui/app; run_application
// (application.h) is the way in. UI thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/session/trace_session.h"
#include "gui/app/application.h"
#include "gui/app/fonts.h"
#include "gui/app/frame_times.h"
#include "gui/app/graphics.h"
#include "gui/app/input_probe.h"
#include "gui/app/platform.h"
#include "gui/app/script_driver.h"
#include "gui/app/shell.h"
#include "gui/app/startup.h"
#include "gui/app/task.h"

namespace layerscope::gui {

/// Members are in order of construction; destruction runs backwards: the session's worker stops
/// first, then the shell, graphics, window and ImGui go.
class Application {
 public:
  using Clock = std::chrono::steady_clock;

  Application(const Options& options, FrameProbe probe,
              std::shared_ptr<std::atomic<std::uint32_t>> problems)
      : options_(options), probe_(std::move(probe)), problems_(std::move(problems)) {}
  Status start();
  Status run();

 private:
  Status start_graphics(const StoredState& stored);
  void start_session();
  Status attach(const RemoteChoice& choice);
  void open_trace(const std::string& path);
  void follow_trace();
  void leave();
  void follow_requests(const ShellRequests& requests);
  Status start_script();
  Result<bool> advance();
  Status frame();
  Status draw_frame();
  Status recover(const Error& error);
  std::string rescue();
  void store_settings();
  Result<Pixels> capture();
  Status screenshot(const std::string& path);
  Status save_panel(const ShellRequests& requests);
  Status resize(int width, int height);
  Status finish();
  void restyle();
  void rest(Clock::time_point started);
  void answered();
  [[nodiscard]] bool idle() const;
  [[nodiscard]] double now() const {
    return std::chrono::duration<double>(Clock::now() - began_).count();
  }

  const Options& options_;
  const FrameProbe probe_;
  Clock::time_point began_ = Clock::now();
  std::string settings_path_;
  ImGuiHolder imgui_;
  FontSet fonts_;
  Fonts loaded_fonts_;
  std::unique_ptr<Platform> platform_;
  std::shared_ptr<std::atomic<std::uint32_t>> problems_;  ///< that the validation layer reported
  std::unique_ptr<Graphics> graphics_;                    ///< goes after the sessions that draw
  std::unique_ptr<session::SessionLink> session_;
  std::unique_ptr<session::SessionLink> parked_;    ///< the live session behind a recording
  std::unique_ptr<session::TraceSession> reading_;  ///< a trace that is not shown yet
  std::uint64_t traces_opened_ = 0;
  std::unique_ptr<Shell> shell_;
  std::unique_ptr<ScriptDriver> script_;
  std::unique_ptr<Task> task_;
  float styled_scale_ = 0.0F;
  bool quit_ = false;
  ShellRequests export_;  ///< of a panel, to be saved in export_in_ frames
  int export_in_ = 0;
  FramePace pace_;                  ///< of a task
  double draw_until_ = 1.0;         ///< seconds since the start
  double last_frame_ = 1.0 / 60.0;  ///< seconds
  FrameCosts costs_;
  double measured_from_ = 0.0;  ///< seconds since the start
  Platform::Events events_;     ///< since the last look at them
  std::unique_ptr<InputProbe> inputs_;
  std::vector<InputProbe::Clock::time_point> answering_;  ///< by the frame in hand
  FrameTimes answers_;                                    ///< from an event to the finished frame
  std::string title_;
};

}  // namespace layerscope::gui

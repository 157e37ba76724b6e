#include "gui/app/application.h"

#include <fmt/format.h>
#include <imgui.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <thread>

#include "engine/base/priority.h"
#include "engine/server/remote_session.h"
#include "engine/server/token.h"
#include "engine/session/trace_export.h"
#include "engine/session/trace_session.h"
#include "gui/app/exports.h"
#include "gui/app/fonts.h"
#include "gui/app/frame_times.h"
#include "gui/app/glyph_grid.h"
#include "gui/app/graphics.h"
#include "gui/app/input_probe.h"
#include "gui/app/platform.h"
#include "gui/app/script_driver.h"
#include "gui/app/shell.h"
#include "gui/app/startup.h"
#include "gui/app/task.h"
#include "gui/app/theme.h"
#include "gui/vulkan/png.h"

namespace layerscope::gui {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kFrameSeconds = 1.0 / 60.0;
constexpr double kAfterInput = 0.7;    ///< drawing goes on this long: hover delays, momentum
constexpr double kAfterUpdate = 0.15;  ///< the same after a change of the session
constexpr double kIdleWait = 0.5;
constexpr auto kPoll = std::chrono::milliseconds(1);  ///< a task looks for the end of a round
constexpr double kProgressWait = 0.1;                 ///< progress is read without a wake-up

/// Serials of the frames of one opened trace.
constexpr std::uint64_t kTraceSerials = std::uint64_t{1} << 34U;

/// Members are in order of construction; destruction runs backwards: the session's worker stops
/// first, then the shell, graphics, window and ImGui go.
class Application {
 public:
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
  FramePace pace_;           ///< of a task
  double draw_until_ = 1.0;  ///< seconds since the start
  double last_frame_ = kFrameSeconds;
  FrameCosts costs_;
  double measured_from_ = 0.0;  ///< seconds since the start
  Platform::Events events_;     ///< since the last look at them
  std::unique_ptr<InputProbe> inputs_;
  std::vector<InputProbe::Clock::time_point> answering_;  ///< by the frame in hand
  FrameTimes answers_;                                    ///< from an event to the finished frame
  std::string title_;
};

Status Application::start() {
  StoredState stored;
  if (!options_.unattended() || options_.settings) {
    settings_path_ = settings_path();
    stored = load_settings(settings_path_);
  }
  LS_CHECK(start_graphics(stored));
  start_session();
  shell_ = std::make_unique<Shell>(*session_, graphics_->renderer().heatmaps(), stored,
                                   [this] { platform_->wake(); });
  shell_->ui().fonts = loaded_fonts_;
  shell_->set_own_chords(platform_->has_chords());
  shell_->ui().demo_path = find_demo();
  restyle();
  if (!options_.model.empty()) {
    shell_->load(options_.model);
  }
  if (!options_.attach.empty()) {
    RemoteChoice choice{options_.attach, {}};
    if (!options_.token_file.empty()) {
      LS_TRY(choice.token, server::read_token(options_.token_file));
    }
    LS_CHECK(attach(choice));
  }
  if (options_.has_prompt) {
    shell_->set_prompt(options_.prompt, options_.chat, options_.exit_after < 0);
  }
  if (!options_.script.empty()) {
    return start_script();
  }
  if (options_.offscreen || options_.exit_after >= 0) {
    shell_->ui().settings.pace = shell_->ui().settings.replay_pace = 0.0F;
    task_ = std::make_unique<Task>(options_, *shell_);
  }
  return {};
}

Status Application::start_graphics(const StoredState& stored) {
  PlatformOptions platform;
  platform.scripted = options_.unattended();
  platform.scale = options_.scale;
  platform.width = platform.scripted ? options_.width : stored.window_width;
  platform.height = platform.scripted ? options_.height : stored.window_height;
  GraphicsOptions graphics;
  graphics.offscreen = options_.offscreen;
  graphics.width = static_cast<std::uint32_t>(options_.width);
  graphics.height = static_cast<std::uint32_t>(options_.height);
  graphics.validation = options_.validation;
  graphics.refused = options_.no_interop ? "--no-interop was given" : "";
  graphics.rehearsals = options_.lose_device;
  graphics.measure = options_.unattended();
  graphics.with = options_.draw_with == "tiles"    ? DrawWith::kTiles
                  : options_.draw_with == "raster" ? DrawWith::kRaster
                                                   : DrawWith::kAuto;
  if (options_.offscreen) {
    platform_ = make_headless_platform(platform);
  } else {
    LS_TRY(platform_, make_window_platform(platform));
  }
  graphics_ = std::make_unique<Graphics>(std::move(graphics), problems_);
  LS_CHECK(graphics_->start(*platform_));
  loaded_fonts_ = fonts_.load();
  spdlog::debug("fonts: {}", fonts_.text());
  return {};
}

void Application::start_session() {
  session::SessionOptions options;
  options.backend = options_.backend;
  options.threads = options_.threads;
  options.gpu = options_.gpu;
  options.context = options_.context;
  options.history_budget = options_.history_memory;
  options.draw = true;
  options.on_change = [this] { platform_->wake(); };
  std::unique_ptr<session::Session> session;
  // The window goes before the engine where both want the processor.
  start_at_low_priority([&] { session = std::make_unique<session::Session>(std::move(options)); });
  if (shell_ != nullptr) {
    shell_->set_session(*session);
    graphics_->pictures().forget(shell_->ui());
  }
  session_ = std::move(session);
}

/// Shows a worker's session instead of the present one, which ends.
Status Application::attach(const RemoteChoice& choice) {
  server::RemoteOptions options;
  LS_TRY(options.url, server::parse_url(choice.url));
  options.token = choice.token;
  options.history_budget = options_.history_memory;
  options.on_change = [this] { platform_->wake(); };
  auto session = std::make_unique<server::RemoteSession>(std::move(options));
  shell_->set_session(*session);
  graphics_->pictures().forget(shell_->ui());
  session_ = std::move(session);
  return {};
}

/// Reads a trace beside the present session, which stays until that has gone well.
void Application::open_trace(const std::string& path) {
  session::TraceSessionOptions options;
  options.path = path;
  options.history_budget = options_.history_memory;
  // Panels tell sessions apart by their serials.
  options.reader.serial_base = kTraceSerials * ++traces_opened_;
  options.model_path = shell_->compared().model().path;
  const auto& model = shell_->ui().snapshot->model;
  options.reader.tokenizer = model != nullptr ? model->tokenizer : nullptr;
  options.on_change = [this] { platform_->wake(); };
  reading_ = std::make_unique<session::TraceSession>(std::move(options));
}

void Application::follow_trace() {
  if (reading_ == nullptr || !reading_->opened()) {
    return;
  }
  if (reading_->reader() == nullptr) {
    shell_->notify(reading_->snapshot()->error);
    if (task_ != nullptr) {
      task_->fail(reading_->snapshot()->error);
    }
    reading_.reset();
    return;
  }
  shell_->set_session(*reading_);
  const session::LinkState link = session_->link();
  if (!link.remote && !link.recording) {
    parked_ = std::move(session_);
  }
  session_ = std::move(reading_);
}

/// From a worker or a recording back to the session of this process.
void Application::leave() {
  if (parked_ == nullptr) {
    start_session();
    return;
  }
  shell_->set_session(*parked_);
  session_ = std::move(parked_);
}

void Application::follow_requests(const ShellRequests& requests) {
  if (!requests.open_trace.empty()) {
    open_trace(requests.open_trace);
  }
  follow_trace();
  if (requests.attach) {
    if (const Status status = attach(*requests.attach); !status.ok()) {
      shell_->notify(status.error().message);
    }
  } else if (const session::LinkState link = session_->link();
             requests.detach && (link.remote || link.recording)) {
    leave();
    if (!requests.open_path.empty()) {
      shell_->load(requests.open_path);
    }
  }
}

Status Application::start_script() {
  std::ifstream file(options_.script, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) {
    return usage_error(fmt::format("cannot read the script {}", options_.script));
  }
  LS_TRY(auto actions, parse_script(options_.script, text));
  ScriptOptions options;
  options.name = options_.script;
  options.output_folder = options_.script_output;
  options.timeout = options_.script_timeout;
  options.variables = script_variables(options_.model);

  ScriptHost host;
  host.ui = &shell_->ui();
  host.idle = [this] { return idle(); };
  host.open = [this](const std::string& path) { shell_->load(path); };
  host.drop = host.open;
  host.resize = [this](int width, int height) { return resize(width, height); };
  host.screenshot = [this](const std::string& path) {
    const bool wanted = probe_.pictures || !probe_.text_problems().empty();
    return wanted ? screenshot(path) : Status();
  };
  host.inputs = [this](double per_second) {
    inputs_ = per_second > 0.0
                  ? std::make_unique<InputProbe>(per_second, [this] { platform_->wake(); })
                  : nullptr;
  };
  host.measure = [this](const std::string& name) {
    if (name == "start") {
      answers_.clear();
      costs_.clear();
      measured_from_ = now();
    } else {
      const double seconds = std::max(now() - measured_from_, 1e-9);
      fmt::print(
          "{}: {}; {:.1f} frames/s\n  this thread alone: {}\n  device: heatmaps {}, interface {}\n",
          name, costs_.whole.text(), static_cast<double>(costs_.whole.count()) / seconds,
          costs_.own.text(), costs_.colouring.short_text(), costs_.interface.short_text());
      if (answers_.count() > 0) {
        fmt::print("  input answered: {} events, {}\n", answers_.count(), answers_.percentiles());
      }
      std::fflush(stdout);
    }
  };
  host.draw_frames = [this](bool all) { graphics_->renderer().set_drawing(all); };
  host.text_problems = probe_.text_problems;
  shell_->set_export_folder(options_.script_output);
  script_ = std::make_unique<ScriptDriver>(std::move(actions), std::move(options), std::move(host));
  return {};
}

void Application::restyle() {
  const Settings& settings = shell_->ui().settings;
  styled_scale_ = platform_->scale();
  apply_theme(settings.dark, styled_scale_ * settings.font_scale);
}

bool Application::idle() const {
  return reading_ == nullptr && session_->idle() && graphics_->pictures().settled() &&
         shell_->compared().settled() && shell_->ui().snapshot == shell_->compared().snapshot();
}

Status Application::resize(int width, int height) {
  platform_->resize(width, height);
  return graphics_->resize(width, height);
}

/// The last frame's pixels; should the device get lost meanwhile, those of a new frame.
Result<Pixels> Application::capture() {
  auto pixels = graphics_->renderer().capture();
  if (pixels.ok() || !graphics_->lost()) {
    return pixels;
  }
  LS_CHECK(recover(pixels.error()));
  LS_CHECK(draw_frame());
  return graphics_->renderer().capture();
}

Status Application::screenshot(const std::string& path) {
  LS_TRY(const Pixels pixels, capture());
  LS_CHECK(write_png(path, pixels));
  spdlog::info("saved {}", path);
  return {};
}

Status Application::save_panel(const ShellRequests& requests) {
  LS_TRY(const Pixels whole, capture());
  const Pixels part = crop(whole, requests.panel_min.x, requests.panel_min.y, requests.panel_max.x,
                           requests.panel_max.y);
  if (part.width == 0 || part.height == 0) {
    shell_->notify("that panel is not visible, so there is no picture of it");
  } else if (const Status status = write_png(requests.panel_path, part); !status.ok()) {
    shell_->notify(status.error().message);
  } else {
    shell_->inform("Saved " + requests.panel_path);
  }
  return {};
}

/// Moves the script or the task on; true when it has ended.
Result<bool> Application::advance() {
  if (script_ != nullptr) {
    return script_->advance(now());
  }
  return task_ != nullptr ? task_->advance() : Result<bool>(false);
}

Status Application::frame() {
  const auto started = Clock::now();
  const double own_started = thread_seconds();
  if (platform_->scale() != styled_scale_) {
    restyle();
  }
  shell_->set_state("app/validation_errors", std::to_string(problems_->load()));
  shell_->set_state("app/frames", std::to_string(graphics_->frames()));
  shell_->set_state("app/graphics/losses", std::to_string(graphics_->losses()));
  graphics_->sweep(shell_->ui().snapshot->sinks_lost);
  LS_CHECK(graphics_->renderer().begin());
  platform_->new_frame();
  shell_->begin_frame();
  LS_CHECK(graphics_->pictures().before_panels(*session_, shell_->ui()));
  if (probe_.before) {
    probe_.before();
  }
  ImGui::NewFrame();
  ImGui::PushFont(loaded_fonts_.regular, 0.0F);
  shell_->draw(styled_scale_, graphics_->renderer().drawing() ? last_frame_ : 0.0);
  ImGui::PopFont();
  ImGui::Render();
  align_glyphs(*ImGui::GetDrawData());
  graphics_->pictures().after_panels(*session_, shell_->ui());
  LS_TRY(const bool shown, graphics_->renderer().end());
  if (!shown) {
    platform_->wait(kProgressWait);  // minimised or just resized
  }
  last_frame_ = std::chrono::duration<double>(Clock::now() - started).count();
  if (task_ == nullptr || task_->generating()) {
    costs_.whole.add(last_frame_);
    costs_.own.add(thread_seconds() - own_started);
    if (const auto& gpu = graphics_->renderer().gpu_times()) {
      costs_.colouring.add(gpu->colouring * 1e-3);
      costs_.interface.add(gpu->interface * 1e-3);
    }
  }
  ShellRequests requests = shell_->after_frame();
  follow_requests(requests);
  quit_ = quit_ || requests.quit;
  if (requests.restyle) {
    restyle();
  }
  if (requests.redraw) {
    draw_until_ = std::max(draw_until_, now() + kAfterUpdate);
  }
  if (!requests.screenshot_path.empty()) {
    if (const Status status = screenshot(requests.screenshot_path); !status.ok()) {
      shell_->notify(status.error().message);
    }
  }
  if (!requests.panel_path.empty()) {
    export_ = std::move(requests);
    export_in_ = 3;  // frames: a menu or the palette that asked for it is gone by then
  }
  if (export_in_ > 0 && --export_in_ == 0) {
    LS_CHECK(save_panel(export_));
  }
  draw_until_ = export_in_ > 0 ? std::max(draw_until_, now() + kAfterUpdate) : draw_until_;
  const auto& model = shell_->ui().snapshot->model;
  std::string title = model != nullptr ? model->name + " · Layerscope" : "Layerscope";
  if (title != title_) {
    title_ = std::move(title);
    platform_->set_title(title_);
  }
  return {};
}

/// Rests before the next frame; input ends it.
void Application::rest(Clock::time_point started) {
  using Seconds = std::chrono::duration<double>;
  const auto drawn = Clock::now();
  const auto snapshot = session_->snapshot();
  const bool computes =
      snapshot->state == session::State::kRunning || snapshot->state == session::State::kEvaluating;
  const bool shared = computes && snapshot->backend == "cpu" && graphics_->context().software();
  const double rest =
      rest_after_frame(Seconds(drawn - started).count(), options_.frames_per_s, shared);
  const bool scripted = script_ != nullptr || task_ != nullptr;
  if (scripted && inputs_ == nullptr) {
    platform_->wait(0.0);
    if (script_ != nullptr || shared) {  // otherwise pace_ says when a task's next frame is due
      std::this_thread::sleep_for(Seconds(rest));
    }
    return;
  }
  for (;;) {
    const double left = rest - Seconds(Clock::now() - drawn).count();
    platform_->wait(std::max(left, 0.0));
    const Platform::Events now = platform_->take_events();
    events_ = {events_.input || now.input, events_.woken || now.woken};
    if (left <= 0.0 || events_.input || (inputs_ != nullptr && inputs_->pending())) {
      return;
    }
  }
}

/// The frame in hand shows what the probe's events did: takes the time once it is finished.
void Application::answered() {
  if (answering_.empty()) {
    return;
  }
  graphics_->context().wait_idle();
  for (const auto when : answering_) {
    answers_.add(std::chrono::duration<double>(Clock::now() - when).count());
  }
  answering_.clear();
}

/// A frame; where the device is lost, one on the next device.
Status Application::draw_frame() {
  Status status = frame();
  while (!status.ok()) {
    LS_CHECK(recover(status.error()));
    status = frame();
  }
  return status;
}

/// Draws on with a new device after the loss of one. Other errors, too many losses and a loss
/// without another device end the program; what the session holds is saved first.
Status Application::recover(const Error& error) {
  if (!graphics_->lost()) {
    return error;
  }
  std::vector<session::SessionLink*> sessions;
  for (session::SessionLink* session : {session_.get(), parked_.get()}) {
    if (session != nullptr) {
      sessions.push_back(session);
    }
  }
  if (const Status status = graphics_->recover(error, *platform_, sessions); !status.ok()) {
    store_settings();
    return device_error(status.error().message + rescue());
  }
  shell_->ui().heatmaps = &graphics_->renderer().heatmaps();
  graphics_->pictures().forget(shell_->ui());
  shell_->notify(fmt::format("{}; it was started again ({}), nothing of the session is lost",
                             error.message, graphics_->context().device_name()));
  return {};
}

/// Saves what is evaluated; says where, as the end of a sentence.
std::string Application::rescue() {
  const auto snapshot = shell_->compared().candidate();
  if (snapshot->n_frames == 0 || snapshot->recording != nullptr) {
    return "; nothing was evaluated that could be lost";
  }
  const std::string path = export_path(shell_->export_folder(), "rescued", "safetensors");
  const auto saved = session::write_session_trace(*snapshot, path, {});
  return saved.ok() ? fmt::format("; the session was saved as {}", path)
                    : fmt::format("; the session could not be saved: {}", saved.error().message);
}

Status Application::run() {
  const bool attended = script_ == nullptr && task_ == nullptr;
  while (!quit_) {
    const auto started = Clock::now();
    // Between two rounds of a task at least 60 frames a second, so that they follow at once.
    const double rate =
        session_->idle() ? std::max(options_.frames_per_s, 60) : options_.frames_per_s;
    if (task_ != nullptr && !pace_.due(now(), 1.0 / rate)) {
      std::this_thread::sleep_for(kPoll);
      continue;
    }
    if (platform_->close_requested()) {
      break;
    }
    LS_TRY(const bool ended, advance());
    if (ended) {
      break;
    }
    if (task_ != nullptr && task_->began_round()) {
      continue;  // its first frame comes when one is due
    }
    for (const std::string& path : platform_->take_drops()) {
      shell_->load(path);
    }
    for (const int chord : platform_->take_chords()) {
      shell_->press(chord);
    }
    if (inputs_ != nullptr) {
      answering_ = inputs_->take();
      const ImVec2 mouse = ImGui::GetIO().MousePos;
      if (!answering_.empty() && ImGui::IsMousePosValid(&mouse)) {
        const bool odd = (static_cast<int>(mouse.x) & 1) != 0;
        ImGui::GetIO().AddMousePosEvent(mouse.x + (odd ? -1.0F : 1.0F), mouse.y);
      }
    }
    const Platform::Events now_seen = platform_->take_events();
    const bool input = events_.input || now_seen.input;
    const bool any = input || events_.woken || now_seen.woken;
    events_ = {};
    if (any) {
      draw_until_ = std::max(draw_until_, now() + (input ? kAfterInput : kAfterUpdate));
    }
    const bool progress = session_->progress().permille >= 0 || shell_->dialog_running();
    if (!attended || progress || now() < draw_until_) {
      LS_CHECK(draw_frame());
      answered();
    }
    if (!attended || now() < draw_until_) {
      rest(started);
    } else {
      platform_->wait(progress ? kProgressWait : kIdleWait);
    }
  }
  return finish();
}

void Application::store_settings() {
  if (settings_path_.empty()) {
    return;
  }
  StoredState stored = shell_->stored();
  if (!options_.unattended()) {
    stored.window_width = platform_->width();
    stored.window_height = platform_->height();
  }
  if (const Status status = save_settings(settings_path_, stored); !status.ok()) {
    spdlog::warn("{}", status.error().message);
  }
}

Status Application::finish() {
  if (!options_.screenshot.empty() || options_.exit_after >= 0) {
    const std::string path = options_.screenshot.empty() ? "layerscope.png" : options_.screenshot;
    LS_CHECK(screenshot(path));
    if (options_.exit_after >= 0) {
      std::error_code failed;
      fmt::print("{}picture  {}\n", task_->report(costs_),
                 std::filesystem::absolute(path, failed).string());
    } else {
      fmt::print("{}\n", path);
    }
  }
  store_settings();
  if (script_ != nullptr && !script_->ended()) {
    return internal_error(fmt::format("{}: the program was quit after {} actions, before the end",
                                      options_.script, script_->performed()));
  }
  if (script_ != nullptr) {
    fmt::print("{}: {} actions passed ({}, {}x{}, validation {})\n", options_.script,
               script_->performed(), options_.offscreen ? "offscreen" : "window",
               platform_->width(), platform_->height(),
               graphics_->context().validating() ? "on" : "off");
  }
  if (imgui_.misuses > 0 && options_.unattended()) {
    return internal_error(
        fmt::format("{} wrong use(s) of Dear ImGui; the first is in the log", imgui_.misuses));
  }
  return {};
}

}  // namespace

Status run_application(const Options& options, FrameProbe probe) {
  const auto problems = std::make_shared<std::atomic<std::uint32_t>>(0);
  Status status;
  {
    Application application(options, std::move(probe), problems);
    status = application.start();
    if (status.ok()) {
      status = application.run();
    }
  }
  // Only now: what is left behind in tear-down counts, too.
  if (status.ok() && *problems > 0) {
    return internal_error(fmt::format(
        "Vulkan's validation layer reported {} problem(s); they are in the log", problems->load()));
  }
  return status;
}

}  // namespace layerscope::gui

#include "gui/app/application.h"

#include <fmt/format.h>
#include <imgui.h>
#include <imgui_internal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <thread>

#include "engine/server/remote_session.h"
#include "engine/server/token.h"
#include "engine/session/trace_session.h"
#include "gui/app/exports.h"
#include "gui/app/fonts.h"
#include "gui/app/frame_times.h"
#include "gui/app/pictures.h"
#include "gui/app/platform.h"
#include "gui/app/script_driver.h"
#include "gui/app/shell.h"
#include "gui/app/task.h"
#include "gui/app/theme.h"
#include "gui/vulkan/offscreen_target.h"
#include "gui/vulkan/png.h"
#include "gui/vulkan/renderer.h"
#include "gui/vulkan/window_target.h"

namespace layerscope::gui {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kFrameSeconds = 1.0 / 60.0;
constexpr double kAfterInput = 0.7;    ///< drawing goes on this long: hover delays, momentum
constexpr double kAfterUpdate = 0.15;  ///< the same after a change of the session
constexpr double kIdleWait = 0.5;
constexpr double kProgressWait = 0.1;  ///< progress is read without a wake-up

/// Serials of the frames of one opened trace.
constexpr std::uint64_t kTraceSerials = std::uint64_t{1} << 34U;

/// The demo model beside the program (a build, an installation) or in the working folder.
std::string find_demo() {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed).parent_path();
  for (const fs::path& folder :
       {program / "assets/demo", program.parent_path() / "assets/demo",
        program.parent_path() / "share/layerscope/demo", fs::path("assets/demo")}) {
    for (const auto& entry : fs::directory_iterator(folder, failed)) {
      if (entry.path().extension() == ".gguf") {
        return fs::absolute(entry.path(), failed).lexically_normal().string();
      }
    }
  }
  return {};
}

/// The ImGui context, made first and destroyed last.
struct ImGuiHolder {
  ImGuiHolder() {
    IMGUI_CHECKVERSION();
    ImGui::CreateContext();
    ImGuiIO& io = ImGui::GetIO();
    io.IniFilename = nullptr;  // the layout is ours
    io.LogFilename = nullptr;
    io.ConfigInputTextCursorBlink = false;  // a blinking cursor would keep an idle window awake
    // Unbalanced calls in a panel are counted; Dear ImGui repairs them and goes on.
    io.ConfigErrorRecoveryEnableAssert = false;
    io.ConfigErrorRecoveryEnableDebugLog = false;
    ImGui::GetCurrentContext()->ErrorCallback = [](ImGuiContext*, void* user, const char* text) {
      auto* holder = static_cast<ImGuiHolder*>(user);
      if (holder->misuses++ == 0) {
        spdlog::error("Dear ImGui is used wrongly: {}", text);
      }
    };
    ImGui::GetCurrentContext()->ErrorCallbackUserData = this;
  }
  ~ImGuiHolder() { ImGui::DestroyContext(); }
  ImGuiHolder(const ImGuiHolder&) = delete;
  ImGuiHolder& operator=(const ImGuiHolder&) = delete;

  std::uint32_t misuses = 0;
};

/// Members are in order of construction; destruction runs backwards: the session's worker stops
/// first, then the shell, renderer, target, device, window and ImGui go.
class Application {
 public:
  Application(const Options& options, FrameProbe probe)
      : options_(options), probe_(std::move(probe)) {}
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
  Status screenshot(const std::string& path);
  Status save_panel(const ShellRequests& requests);
  Status resize(int width, int height);
  Status finish();
  void restyle();
  double pause_before_next(Clock::time_point started) const;
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
  std::unique_ptr<Context> context_;
  std::unique_ptr<RenderTarget> target_;
  OffscreenTarget* offscreen_ = nullptr;  ///< target_, when offscreen
  std::unique_ptr<Renderer> renderer_;
  std::unique_ptr<Pictures> pictures_;  ///< goes after the session that draws them
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
  double draw_until_ = 1.0;  ///< seconds since the start
  double last_frame_ = kFrameSeconds;
  FrameTimes times_;
  double measured_from_ = 0.0;  ///< seconds since the start
  FrameTimes own_times_;        ///< of them, processor time of this thread
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
  shell_ = std::make_unique<Shell>(*session_, renderer_->heatmaps(), stored,
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
  ContextOptions context;
  context.validation = options_.validation;
  if (options_.offscreen) {
    platform_ = make_headless_platform(platform);
  } else {
    LS_TRY(platform_, make_window_platform(platform));
    LS_TRY(context.instance_extensions, window_instance_extensions());
    context.can_present = window_can_present;
  }
  LS_TRY(context_, Context::create(context));
  if (options_.offscreen) {
    LS_TRY(auto target, OffscreenTarget::create(*context_,
                                                {static_cast<std::uint32_t>(options_.width),
                                                 static_cast<std::uint32_t>(options_.height)},
                                                VK_FORMAT_R8G8B8A8_UNORM));
    offscreen_ = target.get();
    target_ = std::move(target);
  } else {
    LS_TRY(target_, WindowTarget::create(*context_, platform_->window()));
  }
  LS_TRY(renderer_, Renderer::create(*context_, *target_, "no model is loaded yet"));
  pictures_ = std::make_unique<Pictures>(*context_, *renderer_,
                                         options_.no_interop ? "--no-interop was given" : "");
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
  options.gpu = options_.gpu;
  options.draw = true;
  options.on_change = [this] { platform_->wake(); };
  auto session = std::make_unique<session::Session>(std::move(options));
  if (shell_ != nullptr) {
    shell_->set_session(*session);
    pictures_->forget(shell_->ui());
  }
  session_ = std::move(session);
}

/// Shows a worker's session instead of the present one, which ends.
Status Application::attach(const RemoteChoice& choice) {
  server::RemoteOptions options;
  LS_TRY(options.url, server::parse_url(choice.url));
  options.token = choice.token;
  options.on_change = [this] { platform_->wake(); };
  auto session = std::make_unique<server::RemoteSession>(std::move(options));
  shell_->set_session(*session);
  pictures_->forget(shell_->ui());
  session_ = std::move(session);
  return {};
}

/// Reads a trace beside the present session, which stays until that has gone well.
void Application::open_trace(const std::string& path) {
  session::TraceSessionOptions options;
  options.path = path;
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
  namespace fs = std::filesystem;
  std::error_code failed;
  auto& variables = options.variables;
  const auto from_environment = [&variables](const char* name, const char* key, std::string other) {
    const char* value = std::getenv(key);
    variables[name] = value != nullptr ? value : std::move(other);
  };
  from_environment("SOURCE", "LS_SOURCE_DIR", fs::current_path(failed).string());
  from_environment("SHARED", "LS_SHARED_DIR", fs::current_path(failed).parent_path() / "shared");
  from_environment("TMP", "TMPDIR", fs::temp_directory_path(failed).string());
  from_environment("MODEL", "MODEL", options_.model);
  const fs::path model = fs::absolute(variables["MODEL"], failed);
  variables["MODEL"] = model.string();
  variables["MODEL_DIR"] = model.parent_path().string();
  variables["MODEL_NAME"] = model.filename().string();

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
  host.measure = [this](const std::string& name) {
    if (name == "start") {
      times_.clear();
      own_times_.clear();
      measured_from_ = now();
    } else {
      const double seconds = std::max(now() - measured_from_, 1e-9);
      fmt::print("{}: {}; {:.1f} frames/s\n  this thread alone: {}\n", name, times_.text(),
                 static_cast<double>(times_.count()) / seconds, own_times_.text());
      std::fflush(stdout);
    }
  };
  host.draw_frames = [this](bool all) { renderer_->set_drawing(all); };
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
  return reading_ == nullptr && session_->idle() && pictures_->settled() &&
         shell_->compared().settled() && shell_->ui().snapshot == shell_->compared().snapshot();
}

Status Application::resize(int width, int height) {
  platform_->resize(width, height);
  if (offscreen_ != nullptr) {
    return offscreen_->resize(
        {static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)});
  }
  return {};
}

Status Application::screenshot(const std::string& path) {
  LS_TRY(const Pixels pixels, renderer_->capture());
  LS_CHECK(write_png(path, pixels));
  spdlog::info("saved {}", path);
  return {};
}

Status Application::save_panel(const ShellRequests& requests) {
  LS_TRY(const Pixels whole, renderer_->capture());
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
  shell_->set_state("app/validation_errors", std::to_string(context_->validation_errors()));
  shell_->set_state("app/frames", std::to_string(renderer_->frames()));
  LS_CHECK(renderer_->begin());
  platform_->new_frame();
  shell_->begin_frame();
  LS_CHECK(pictures_->before_panels(*session_, shell_->ui()));
  if (probe_.before) {
    probe_.before();
  }
  ImGui::NewFrame();
  ImGui::PushFont(loaded_fonts_.regular, 0.0F);
  shell_->draw(styled_scale_, renderer_->drawing() ? last_frame_ : 0.0);
  ImGui::PopFont();
  ImGui::Render();
  pictures_->after_panels(*session_, shell_->ui());
  LS_TRY(const bool shown, renderer_->end());
  if (!shown) {
    platform_->wait(kProgressWait);  // minimised or just resized
  }
  last_frame_ = std::chrono::duration<double>(Clock::now() - started).count();
  times_.add(last_frame_);
  own_times_.add(thread_seconds() - own_started);
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

/// Seconds to sleep so that no more frames are drawn in a second than was asked for.
double Application::pause_before_next(Clock::time_point started) const {
  const double spent = std::chrono::duration<double>(Clock::now() - started).count();
  return std::max(0.0, 1.0 / options_.frames_per_s - spent);
}

Status Application::run() {
  const bool attended = script_ == nullptr && task_ == nullptr;
  while (!quit_) {
    const auto started = Clock::now();
    if (platform_->close_requested()) {
      break;
    }
    LS_TRY(const bool ended, advance());
    if (ended) {
      break;
    }
    for (const std::string& path : platform_->take_drops()) {
      shell_->load(path);
    }
    for (const int chord : platform_->take_chords()) {
      shell_->press(chord);
    }
    const bool input = platform_->take_events();
    const session::Snapshot& drawn = *shell_->ui().snapshot;
    if (input) {
      const bool update = session_->snapshot()->version != drawn.version;
      draw_until_ = std::max(draw_until_, now() + (update ? kAfterUpdate : kAfterInput));
    }
    const bool progress = session_->progress().permille >= 0 || shell_->dialog_running();
    if (!attended || progress || now() < draw_until_) {
      LS_CHECK(frame());
    }
    if (!attended || now() < draw_until_) {
      const double pause = pause_before_next(started);
      // Without input the display's rate or the sleep sets the pace; events end the sleep early,
      // which only means that a frame comes a little sooner.
      platform_->wait(attended ? pause : 0.0);
      if (!attended) {
        std::this_thread::sleep_for(std::chrono::duration<double>(pause));
      }
    } else {
      platform_->wait(progress ? kProgressWait : kIdleWait);
    }
  }
  return finish();
}

Status Application::finish() {
  if (!options_.screenshot.empty() || options_.exit_after >= 0) {
    const std::string path = options_.screenshot.empty() ? "layerscope.png" : options_.screenshot;
    LS_CHECK(screenshot(path));
    if (options_.exit_after >= 0) {
      std::error_code failed;
      fmt::print("{}picture  {}\n", task_->report(),
                 std::filesystem::absolute(path, failed).string());
    } else {
      fmt::print("{}\n", path);
    }
  }
  if (!settings_path_.empty()) {
    StoredState stored = shell_->stored();
    if (!options_.unattended()) {
      stored.window_width = platform_->width();
      stored.window_height = platform_->height();
    }
    if (const Status status = save_settings(settings_path_, stored); !status.ok()) {
      spdlog::warn("{}", status.error().message);
    }
  }
  if (script_ != nullptr && !script_->ended()) {
    return internal_error(fmt::format("{}: the program was quit after {} actions, before the end",
                                      options_.script, script_->performed()));
  }
  if (script_ != nullptr) {
    fmt::print("{}: {} actions passed ({}, {}x{}, validation {})\n", options_.script,
               script_->performed(), options_.offscreen ? "offscreen" : "window",
               platform_->width(), platform_->height(), context_->validating() ? "on" : "off");
  }
  if (context_->validation_errors() > 0) {
    return internal_error(
        fmt::format("Vulkan's validation layer reported {} problem(s); they are in the log",
                    context_->validation_errors()));
  }
  if (imgui_.misuses > 0 && options_.unattended()) {
    return internal_error(
        fmt::format("{} wrong use(s) of Dear ImGui; the first is in the log", imgui_.misuses));
  }
  return {};
}

}  // namespace

Status run_application(const Options& options, FrameProbe probe) {
  Application application(options, std::move(probe));
  LS_CHECK(application.start());
  return application.run();
}

}  // namespace layerscope::gui

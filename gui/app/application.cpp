#include "gui/app/application.h"

#include <fmt/format.h>
#include <imgui.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>

#include "engine/base/priority.h"
#include "engine/server/remote_session.h"
#include "engine/server/token.h"
#include "gui/app/application_parts.h"
#include "gui/app/exports.h"
#include "gui/app/theme.h"
#include "gui/vulkan/png.h"

namespace layerscope::gui {
namespace {

/// Serials of the frames of one opened trace.
constexpr std::uint64_t kTraceSerials = std::uint64_t{1} << 34U;

}  // namespace

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
  host.draw_frames = [this](bool all) { graphics_->draw_frames(all); };
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
         shell_->whole() && shell_->compared().settled() &&
         shell_->ui().snapshot == shell_->compared().snapshot();
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

// The frames of the window: when they are drawn, what each of them does, and how drawing goes on
// after the loss of a device.
#include <fmt/format.h>
#include <imgui.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "engine/session/trace_export.h"
#include "gui/app/application_parts.h"
#include "gui/app/exports.h"
#include "gui/app/glyph_grid.h"

namespace layerscope::gui {
namespace {

using Clock = Application::Clock;

constexpr double kAfterInput = 0.7;    ///< drawing goes on this long: hover delays, momentum
constexpr double kAfterUpdate = 0.15;  ///< the same after a change of the session
constexpr double kIdleWait = 0.5;
constexpr auto kPoll = std::chrono::milliseconds(1);  ///< a task looks for the end of a round
constexpr double kProgressWait = 0.1;                 ///< progress is read without a wake-up

}  // namespace

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

}  // namespace layerscope::gui

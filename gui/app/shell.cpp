#include "gui/app/shell.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "gui/panels/actions.h"
#include "gui/panels/widgets.h"
#include "gui/view/color_map.h"

namespace layerscope::gui {

const char* state_name(session::State state) {
  switch (state) {
    case session::State::kEmpty:
      return "empty";
    case session::State::kLoading:
      return "loading";
    case session::State::kIdle:
      return "idle";
    case session::State::kEvaluating:
      return "evaluating";
    case session::State::kRunning:
      return "running";
  }
  return "";
}

Shell::Shell(session::SessionLink& session, HeatmapRenderer& heatmaps, StoredState stored,
             std::function<void()> wake)
    : session_(&session),
      wake_(std::move(wake)),
      compared_(wake_),
      stored_(std::move(stored)),
      panels_(make_panels()),
      browser_(wake_) {
  compared_.set_candidate(session);
  ui_.session = &compared_;
  ui_.compared = &compared_;
  ui_.heatmaps = &heatmaps;
  ui_.snapshot = session.snapshot();
  ui_.settings = stored_.settings;
}

void Shell::set_session(session::SessionLink& session) {
  session_ = &session;
  export_waits_ = false;
  compared_.set_candidate(session);
  ui_.snapshot = compared_.snapshot();
  ui_.fault_request = {};
  seen_error_ = ui_.snapshot->error_serial;
  ui_.notice.clear();
  notice_of_session_ = false;
}

const StoredState& Shell::stored() {
  stored_.settings = ui_.settings;
  return stored_;
}

void Shell::load(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path absolute = std::filesystem::absolute(path, failed);
  if (std::filesystem::is_directory(absolute, failed)) {
    browser_.open(absolute.string(), ui_.settings.recent);
    return;
  }
  ui_.notice.clear();
  if (session::opens_as_trace(absolute.string())) {
    trace_wanted_ = absolute.string();
    return;
  }
  if (const session::LinkState link = session_->link(); link.remote || link.recording) {
    open_wanted_ = absolute.string();  // what is shown now is left first
    return;
  }
  session_->send(session::LoadModel{absolute.string()});
}

void Shell::choose_reference(const std::string& path) {
  std::error_code failed;
  compared_.choose_reference(std::filesystem::absolute(path, failed).string());
  ui_.requests.show_tab = "compare";
}

void Shell::set_prompt(std::string text, bool chat, bool evaluate) {
  ui_.prompt_text = text;
  ui_.prompt_chat = chat;
  wanted_prompt_ = std::move(text);
  wanted_chat_ = chat;
  prompt_wanted_ = true;
  evaluate_wanted_ = evaluate;
}

void Shell::notify(std::string text) {
  spdlog::warn("{}", text);
  ui_.notice = std::move(text);
  notice_of_session_ = false;
}

void Shell::inform(std::string text, bool stays) {
  spdlog::info("{}", text);
  info_ = std::move(text);
  info_until_ = ImGui::GetTime() + (stays ? 1e9 : 6.0);
}

void Shell::follow_session() {
  compared_.advance();
  ui_.snapshot = compared_.snapshot();
  const session::Snapshot& snapshot = *ui_.snapshot;
  if (snapshot.error_serial != seen_error_) {
    seen_error_ = snapshot.error_serial;
    if (!snapshot.error.empty()) {
      ui_.notice = snapshot.error;
      notice_of_session_ = true;
    }
  } else if (notice_of_session_ && snapshot.error.empty()) {
    ui_.notice.clear();  // what was asked for next went well
    notice_of_session_ = false;
  }
  if (snapshot.model != seen_model_) {
    seen_model_ = snapshot.model;
    ui_.selection = Selection{};
    if (seen_model_ != nullptr && !session_->link().remote) {
      remember_file(ui_.settings, seen_model_->path);
      ui_.settings.last_folder = std::filesystem::path(seen_model_->path).parent_path().string();
    }
    if (snapshot.recording != nullptr) {
      ui_.prompt_text = snapshot.prompt;
      ui_.prompt_chat = snapshot.chat;
      prompt_wanted_ = false;
    } else if (seen_model_ != nullptr && seen_model_->file != nullptr) {
      compared_.set_model({seen_model_->path, snapshot.backend});
    }
  }
  if (snapshot.session_serial != seen_session_ && compared_.side() == session::Side::kA) {
    seen_session_ = snapshot.session_serial;
    if (snapshot.fed_text.empty() && !snapshot.prompt.empty()) {  // tokens were fed, not a text
      ui_.prompt_text = snapshot.prompt;
      ui_.prompt_chat = false;
    }
  }
  if (prompt_wanted_ && has_model(ui_)) {
    prompt_wanted_ = false;
    ui_.send(session::SetPrompt{wanted_prompt_, wanted_chat_});
    if (evaluate_wanted_) {
      ui_.send(session::Step{0});
    }
  }
}

void Shell::begin_frame() {
  ui_.widgets.clear();
  follow_session();
}

void Shell::draw(float scale, double frame_seconds) {
  scale_ = scale * ui_.settings.font_scale;
  ui_.scale = scale;
  ui_.frame_seconds = frame_seconds;
  register_states();
  follow_pace(ui_);
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  draw_regions(size.x, size.y);
  draw_message();
  draw_keys();
  palette_.draw(
      ui_, [this] { return palette_entries(); }, scale_);
  if (const auto chosen = browser_.draw(ui_)) {
    if (std::exchange(choosing_reference_, false)) {
      choose_reference(*chosen);
    } else {
      load(*chosen);
    }
  }
  if (auto choice = remote_dialog_.draw(ui_, scale_)) {
    attach_wanted_ = std::move(choice);
  }
  poll_system_dialog();
  handle_keys();
}

void Shell::register_states() {
  const session::Snapshot& snapshot = *ui_.snapshot;
  WidgetRegistry& widgets = ui_.widgets;
  widgets.state("app/state", state_name(snapshot.state));
  widgets.state("app/error", ui_.notice);
  widgets.state("app/info", info_);
  widgets.state("app/steps", std::to_string(snapshot.n_generated));
  widgets.state("app/tokens", std::to_string(snapshot.n_frames));
  widgets.state("app/stop_reason", session::stop_reason_name(snapshot.stop_reason));
  widgets.state("app/model", snapshot.model != nullptr
                                 ? std::filesystem::path(snapshot.model->path).filename().string()
                                 : "");
  widgets.state("app/model/path", snapshot.model != nullptr ? snapshot.model->path : "");
  widgets.state("app/backend", snapshot.backend);
  widgets.state("app/path", std::string(ui_.heatmaps->path_text()));
  widgets.state("app/path/reason", std::string(ui_.heatmaps->path_reason()));
  widgets.state("app/decode_tok_s", fmt::format("{:.1f}", snapshot.timing.decode_tok_s));
  widgets.state("app/pictures/dropped", std::to_string(ui_.frames_dropped));
  widgets.state("app/pictures/bytes_to_host", std::to_string(snapshot.drawn_bytes_to_host));
  widgets.state("app/pictures/tokens",
                std::to_string(ui_.drawn != nullptr ? ui_.drawn->frame.n_tokens : 0));
  widgets.state("app/color_map", view::color_map_name(chosen_map(ui_)));
  widgets.state("app/theme", ui_.settings.dark ? "dark" : "light");
  widgets.state("app/font_scale", fmt::format("{:.2f}", ui_.settings.font_scale));
  widgets.state("selection/position", std::to_string(ui_.selection.position));
  widgets.state("selection/shown", std::to_string(ui_.shown_position()));
  widgets.state("selection/layer", std::to_string(ui_.selection.layer));
  widgets.state("selection/tensor", ui_.selection.tensor);
  widgets.state("selection/head", std::to_string(ui_.selection.head));
  register_link();
  register_recording();
  for (const auto& [id, value] : extra_states_) {
    widgets.state(id, value);
  }
}

void Shell::register_link() {
  const session::LinkState link = session_->link();
  ui_.widgets.state("link/remote", link.remote ? "yes" : "no");
  ui_.widgets.state("link/connected", link.connected ? "yes" : "no");
  ui_.widgets.state("link/place", link.place);
  ui_.widgets.state("link/problem", link.problem);
  ui_.widgets.state("link/bytes", std::to_string(link.bytes_total));
  ui_.widgets.state("link/reconnects", std::to_string(link.reconnects));
}

void Shell::register_recording() {
  const auto& recording = ui_.snapshot->recording;
  ui_.widgets.state("app/recording", recording != nullptr ? recording->format : "");
  ui_.widgets.state("app/recorded", std::to_string(recording ? recording->n_positions : 0));
  ui_.widgets.state("app/side", session::side_name(compared_.side()));
  ui_.widgets.state("app/export", export_ != nullptr || export_waits_ ? "writing" : "");
}

void Shell::handle_keys() {
  const bool typing = ImGui::GetIO().WantTextInput;
  for (const ImGuiKeyChord chord : std::exchange(chords_, {})) {
    if (const auto action = chord_action(chord, typing)) {
      perform_if_allowed(*action);
    }
  }
  if (const auto action = pressed_action(typing, !own_chords_)) {
    perform_if_allowed(*action);
  }
}

void Shell::perform_if_allowed(Action action) {
  const bool popup =
      ImGui::IsPopupOpen("", ImGuiPopupFlags_AnyPopupId | ImGuiPopupFlags_AnyPopupLevel);
  // An open dialog or menu has the keyboard; only what concerns the window itself still works.
  const bool window_action = action == Action::kQuit || action == Action::kScreenshot ||
                             action == Action::kLargerText || action == Action::kSmallerText ||
                             action == Action::kResetText || action == Action::kToggleTheme;
  const bool closes = action == Action::kKeys && keys_visible_;
  if (!popup || window_action || closes) {
    perform(action);
  }
}

void Shell::select_layer_head(int layer_step, int head_step) {
  if (ui_.snapshot->model == nullptr) {
    return;
  }
  Selection& selection = ui_.selection;
  selection.layer = std::clamp(selection.layer + layer_step, 0, ui_.snapshot->model->n_layers - 1);
  selection.head = std::clamp(selection.head + head_step, 0, ui_.snapshot->model->n_heads - 1);
}

void Shell::perform(Action action) {
  const int newest = ui_.snapshot->n_frames - 1;
  const int shown = ui_.shown_position();
  switch (action) {
    case Action::kOpen:
      ui_.requests.open_file_dialog = true;
      break;
    case Action::kSystemDialog:
      ui_.requests.open_system_dialog = true;
      break;
    case Action::kOpenRemote:
      ui_.requests.open_remote_dialog = true;
      break;
    case Action::kScreenshot:
      ui_.requests.screenshot_path = "layerscope.png";
      break;
    case Action::kQuit:
      ui_.requests.quit = true;
      break;
    case Action::kStep:
      step(ui_);
      break;
    case Action::kStepBack:
      step_back(ui_);
      break;
    case Action::kRunPause:
      run_or_pause(ui_);
      break;
    case Action::kStop:
      stop(ui_);
      break;
    case Action::kSlower:
      change_pace(ui_, -1);
      break;
    case Action::kFaster:
      change_pace(ui_, 1);
      break;
    case Action::kRestart:
      apply_prompt(ui_);
      break;
    case Action::kUndo:
      undo_rewind(ui_);
      break;
    case Action::kToggleBottom:
      stored_.layout.bottom = stored_.layout.bottom >= kWholeBottom ? 0.0F : kWholeBottom;
      break;
    case Action::kFind:
      ui_.focus_search = true;
      break;
    case Action::kPalette:
      ui_.requests.show_palette = true;
      break;
    case Action::kCopyCommand:
      ui_.requests.copy_command = true;
      break;
    case Action::kPreviousToken:
      if (shown > 0) {
        select_position(ui_, shown - 1);
      }
      break;
    case Action::kNextToken:
      select_position(ui_, shown + 1 >= newest ? -1 : shown + 1);
      break;
    case Action::kFirstToken:
      select_position(ui_, newest >= 0 ? 0 : -1);
      break;
    case Action::kFollowNewest:
      select_position(ui_, -1);
      break;
    case Action::kPreviousLayer:
      select_layer_head(-1, 0);
      break;
    case Action::kNextLayer:
      select_layer_head(1, 0);
      break;
    case Action::kPreviousHead:
      select_layer_head(0, -1);
      break;
    case Action::kNextHead:
      select_layer_head(0, 1);
      break;
    case Action::kToggleHead:
      ui_.selection.head_open = !ui_.selection.head_open;
      break;
    case Action::kLargerText:
      ui_.settings.font_scale = std::min(2.5F, ui_.settings.font_scale + 0.1F);
      break;
    case Action::kSmallerText:
      ui_.settings.font_scale = std::max(0.7F, ui_.settings.font_scale - 0.1F);
      break;
    case Action::kResetText:
      ui_.settings.font_scale = 1.0F;
      break;
    case Action::kToggleTheme:
      ui_.settings.dark = !ui_.settings.dark;
      break;
    case Action::kKeys:
      ui_.requests.show_keys = true;
      break;
    case Action::kDismiss:
      ui_.notice.clear();
      info_.clear();
      break;
  }
}

void Shell::poll_system_dialog() {
  const auto path = system_dialog_.poll();
  ui_.widgets.state("dialog/system", system_dialog_.running() ? system_dialog_.via() : "");
  if (path && !path->ok()) {
    notify(path->error().message);
  } else if (path && !path->value().empty()) {
    load(path->value());
  }
}

ShellRequests Shell::after_frame() {
  AppRequests asked = std::exchange(ui_.requests, AppRequests{});
  partial_ = asked.partial;
  if ((asked.open_file_dialog || asked.open_reference_dialog) && !browser_.visible()) {
    choosing_reference_ = asked.open_reference_dialog;
    browser_.open(ui_.settings.last_folder, ui_.settings.recent,
                  choosing_reference_ ? BrowserPurpose::kReference : BrowserPurpose::kOpen);
  }
  if (asked.open_system_dialog) {
    if (const Status status = system_dialog_.open(browser_.folder()); !status.ok()) {
      notify(status.error().message);
    }
  }
  if (asked.open_remote_dialog) {
    remote_dialog_.open();
  }
  if (asked.show_keys) {
    keys_visible_ = !keys_visible_;
  }
  if (asked.show_palette) {
    palette_.open();
    asked.redraw = true;
  }
  if (asked.open_demo) {
    load(ui_.demo_path);
    set_prompt("Write a haiku about GPU computing. Use the word forty-six.", true, true);
    inform(
        "A small model that writes haiku. Press Run (F5) and watch the attention grid fill: bright "
        "diagonals are heads that copy; click one for its map. The logit lens shows in which layer "
        "each word appears. Then break it: in Faults, inject \"rope:off\", and let Findings name "
        "the bug.",
        true);
  }
  if (!asked.show_tab.empty()) {
    wanted_tab_ = asked.show_tab;
    asked.redraw = true;
  }
  if (!asked.open_path.empty()) {
    load(asked.open_path);
  }
  ShellRequests result;
  result.quit = asked.quit;
  result.redraw = asked.redraw;
  export_what_was_asked(asked, result);
  follow_export();
  result.redraw = result.redraw || export_ != nullptr || export_waits_;
  result.open_trace = std::exchange(trace_wanted_, {});
  result.attach = std::exchange(attach_wanted_, std::nullopt);
  result.open_path = std::exchange(open_wanted_, {});
  result.detach = asked.detach || !result.open_path.empty();
  result.screenshot_path = std::move(asked.screenshot_path);
  result.restyle = ui_.settings.dark != stored_.settings.dark ||
                   ui_.settings.font_scale != stored_.settings.font_scale;
  stored_.settings = ui_.settings;
  return result;
}

}  // namespace layerscope::gui

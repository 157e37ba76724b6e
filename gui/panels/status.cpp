// Status bar: what goes on now, how smoothly the window runs, and the last error in words. UI
// thread.
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "gui/panels/diagnosis.h"
#include "gui/panels/panels.h"
#include "gui/panels/widgets.h"
#include "gui/view/history_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

using session::State;
using session::StopReason;

struct Words {
  std::string text;
  ImU32 color;
};

std::string idle_words(const session::Snapshot& s) {
  switch (s.stop_reason) {
    case StopReason::kMaxTokens:
      return "idle · token limit reached";
    case StopReason::kEos:
      return "idle · the model ended its text";
    case StopReason::kStop:
      return "idle · stop text met";
    case StopReason::kCancelled:
      return "idle · stopped by hand";
    case StopReason::kContextFull:
      return "idle · the context is full";
    case StopReason::kNone:
      break;
  }
  return s.n_frames > 0 ? "idle" : "ready · Step (F10) evaluates the prompt";
}

Words state_words(const Ui& ui) {
  const Palette& c = colors(ui);
  const session::Snapshot& s = *ui.snapshot;
  int permille = -1;
  if (ui.session != nullptr) {
    permille = ui.session->progress().permille.load();
  }
  const std::string percent =
      permille >= 0 ? fmt::format(" {}%", std::clamp(permille, 0, 1000) / 10) : std::string("…");
  switch (s.state) {
    case State::kEmpty:
      return {is_only_listed(ui) ? "listed, cannot be run" : "no model · open one with Ctrl+O",
              is_only_listed(ui) ? c.warn : c.faint};
    case State::kLoading:
      return {"loading" + percent, c.accent};
    case State::kEvaluating:
      return {(is_diagnosing(ui) ? "running deep checks" : "evaluating the prompt") + percent,
              c.accent};
    case State::kRunning:
      return {"generating", c.good};
    case State::kIdle:
      break;
  }
  const bool full = s.stop_reason == StopReason::kContextFull;
  return {idle_words(s), full ? c.warn : c.good};
}

/// Where a remote session runs, and how fast it arrives.
void link_words(Ui& ui) {
  const session::LinkState link = ui.session != nullptr ? ui.session->link() : session::LinkState{};
  if (!link.remote) {
    return;
  }
  const Palette& c = colors(ui);
  const auto rate = [](double bytes) {
    return view::bytes_text(static_cast<std::uint64_t>(bytes)) + "/s";
  };
  std::string words = fmt::format("remote {} · ", link.place);
  if (link.connected) {
    words += fmt::format("{} of {}", rate(link.bytes_per_s),
                         rate(static_cast<double>(link.bytes_per_s_most)));
  } else {  // an error stands beside it
    words += "not connected" + (ui.snapshot->error.empty() ? ": " + link.problem : std::string());
  }
  ImGui::SameLine(0.0F, px(ui, 18.0F));
  text(link.connected ? c.accent : c.warn, words);
  ui.widgets.mark("status/link");
  ui.widgets.state("status/link", words);
  tip(fmt::format("The model runs in a worker. {} received so far, at most {}; {} reconnection(s).",
                  view::bytes_text(link.bytes_total),
                  rate(static_cast<double>(link.bytes_per_s_most)), link.reconnects));
}

class StatusBar final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "status"; }
  [[nodiscard]] const char* title() const override { return "Status"; }
  void draw(Ui& ui) override;

 private:
  void error(Ui& ui, float right);

  std::uint64_t dismissed_ = 0;
  double frame_seconds_ = 0.0;
};

void StatusBar::error(Ui& ui, float right) {
  const Palette& c = colors(ui);
  const std::string& message = ui.snapshot->error;
  const float buttons =
      ImGui::CalcTextSize("Copy").x + ImGui::CalcTextSize("Dismiss").x + px(ui, 34.0F);
  ImGui::SameLine(0.0F, px(ui, 18.0F));
  const float width = right - ImGui::GetCursorPosX() - buttons;
  if (width < px(ui, 40.0F)) {
    return;
  }
  const ImVec2 min = ImGui::GetCursorScreenPos();
  text_elided(c.error, "⚠ " + message, width);
  const float shown = ImGui::GetItemRectSize().x;
  ui.widgets.mark("status/error");
  const float after = min.x - ImGui::GetWindowPos().x + shown + px(ui, 10.0F);
  const float lift = -ImGui::GetStyle().FramePadding.y;
  ImGui::SameLine(after);
  ImGui::SetCursorPosY(ImGui::GetCursorPosY() + lift);
  if (button(ui, "status/error/copy", "Copy", Look::kLink, "Copy the error")) {
    ImGui::SetClipboardText(message.c_str());
  }
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  ImGui::SetCursorPosY(ImGui::GetCursorPosY() + lift);
  if (button(ui, "status/error/dismiss", "Dismiss", Look::kLink)) {
    dismissed_ = ui.snapshot->error_serial;
  }
}

void StatusBar::draw(Ui& ui) {
  const Palette& c = colors(ui);
  const session::Snapshot& s = *ui.snapshot;
  const float line = ImGui::GetTextLineHeight();
  const float top =
      ImGui::GetCursorPosY() + std::max(0.0F, (ImGui::GetContentRegionAvail().y - line) / 2.0F);
  ImGui::SetCursorPosY(top);
  const float edge = right_edge();
  const Words words = state_words(ui);
  ui.widgets.state("status/text", words.text);
  const ImVec2 dot = ImGui::GetCursorScreenPos();
  const float radius = px(ui, 4.0F);
  ImGui::GetWindowDrawList()->AddCircleFilled({dot.x + radius, dot.y + line / 2.0F}, radius,
                                              words.color);
  ImGui::SetCursorPosX(ImGui::GetCursorPosX() + radius * 2.0F + px(ui, 6.0F));
  text(s.state == State::kEmpty ? c.quiet : c.text, words.text);
  ui.widgets.mark("status");
  if (s.n_frames > 0) {
    ImGui::SameLine(0.0F, px(ui, 18.0F));
    text(c.quiet, fmt::format("{} tokens · {} generated", s.n_frames, s.n_generated));
  }
  link_words(ui);
  const std::string keys = "F1 keys · Ctrl+O open · Ctrl+P command";
  const float keys_at = edge - ImGui::CalcTextSize(keys.c_str()).x;
  float right = keys_at - px(ui, 14.0F);
  // A slow average: the number must be readable.
  frame_seconds_ += (ui.frame_seconds - frame_seconds_) * 0.05;
  std::string smooth;
  if (frame_seconds_ > 0.0 && ui.frame_seconds > 0.0) {
    smooth = fmt::format("{:.0f} frames/s · {} dropped", 1.0 / frame_seconds_, ui.frames_dropped);
  }
  const bool failed = !s.error.empty() && s.error_serial != dismissed_;
  ui.widgets.state("status/error", failed ? s.error : std::string());
  ui.widgets.state("status/state", s.state == State::kEmpty        ? "empty"
                                   : s.state == State::kLoading    ? "loading"
                                   : s.state == State::kEvaluating ? "evaluating"
                                   : s.state == State::kRunning    ? "running"
                                                                   : "idle");
  ui.widgets.state("status/history", view::history_line(s));
  ui.widgets.state("status/stop_reason", session::stop_reason_name(s.stop_reason));
  // The notice over the window says it already; here it stays once that is gone.
  if (failed && ui.notice != s.error) {
    error(ui, right);
  } else if (!smooth.empty()) {
    ImGui::SameLine(0.0F, px(ui, 18.0F));
    if (ImGui::GetCursorPosX() + ImGui::CalcTextSize(smooth.c_str()).x < right) {
      text(c.quiet, smooth);
      tip("Frames drawn per second while something moves; an idle window draws none. Dropped: "
          "pictures skipped because the graphics device was still busy.");
      const std::string history = view::history_line(s);
      ImGui::SameLine(0.0F, px(ui, 18.0F));
      if (!history.empty() &&
          ImGui::GetCursorPosX() + ImGui::CalcTextSize(history.c_str()).x < right) {
        text(c.quiet, history);
        tip(view::history_lines(s));
        ui.widgets.mark("status/history");
      }
    }
  }
  ImGui::SameLine(std::max(keys_at, 0.0F));
  ImGui::SetCursorPosY(top);
  text(c.quiet, keys);
  if (ImGui::IsItemClicked()) {
    ui.requests.show_keys = true;
  }
  ui.widgets.mark("status/keys");
}

}  // namespace

std::unique_ptr<Panel> make_status() { return std::make_unique<StatusBar>(); }

}  // namespace layerscope::gui

#include "gui/app/task.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/utf8.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

constexpr int kSettleFrames = 8;  ///< until thumbnails and maps show the last token

}  // namespace

Result<bool> Task::advance() {
  session::SessionLink& session = shell_.compared();  // another one once a recording is open
  const auto snapshot = session.snapshot();
  const bool still = session.idle() && snapshot->state != session::State::kLoading;
  if (!problem_.empty()) {
    return invalid_input(problem_);
  }
  if (!snapshot->error.empty() && still) {
    return invalid_input(snapshot->error);
  }
  switch (phase_) {
    case Phase::kLoading: {
      const bool recorded = snapshot->recording != nullptr;
      if (!(options_.model.empty() && options_.attach.empty()) &&
          ((snapshot->model == nullptr && !recorded) || !still)) {
        return false;
      }
      if (options_.exit_after >= 0 && recorded) {  // it opens at its end: from the prompt on
        session.send(session::SetPrompt{});
        if (options_.exit_after > 0) {
          session.send(session::Run{options_.exit_after});
        }
      } else if (options_.exit_after >= 0) {
        if (shell_.prompt_waiting() || snapshot->prompt_ids.empty()) {
          return false;  // the shell sends the prompt one frame after the model has come
        }
        if (options_.exit_after > 0) {
          session.send(session::Run{options_.exit_after});
        } else {
          session.send(session::Step{0});
        }
      }
      phase_ = Phase::kGenerating;
      return false;
    }
    case Phase::kGenerating:
      if (snapshot->state == session::State::kRunning) {
        last_ = std::chrono::steady_clock::now();
        first_ = drawn_++ == 0 ? last_ : first_;
      }
      if (still && shell_.ui().snapshot->version == snapshot->version) {
        phase_ = Phase::kDrawing;
      }
      return false;
    case Phase::kDrawing:
      if (++frames_ >= kSettleFrames) {
        phase_ = Phase::kDone;
      }
      return phase_ == Phase::kDone;
    case Phase::kDone:
      return true;
  }
  return true;
}

std::string Task::report() const {
  const auto snapshot = shell_.compared().snapshot();
  const session::ModelInfo unknown;  // a foreign recording may name no model
  const session::ModelInfo& model = snapshot->model != nullptr ? *snapshot->model : unknown;
  std::string bytes;
  if (model.tokenizer != nullptr) {
    for (int i = snapshot->n_prompt(); i < snapshot->n_frames; ++i) {
      bytes += view::token_bytes(model.tokenizer.get(), snapshot->frame(i)->id);
    }
  }
  const session::Timing& timing = snapshot->timing;
  return fmt::format(
      "{}\n\n"
      "model    {} ({}, {} parameters, {})\n"
      "backend  {}: {}\n"
      "prompt   {} tokens, {:.1f} tok/s\n"
      "output   {} tokens ({}), {:.1f} tok/s\n"
      "drawing  {}: {}\n"
      "frames   {}\n",
      utf8_sanitize(bytes), model.name, model.architecture, view::count_text(model.n_params),
      model.quantization, snapshot->backend_text, snapshot->backend_reason, snapshot->n_prompt(),
      timing.prefill_tok_s, snapshot->n_generated, session::stop_reason_name(snapshot->stop_reason),
      timing.decode_tok_s, shell_.ui().heatmaps->path_text(), shell_.ui().heatmaps->path_reason(),
      frames_text());
}

/// "312 while generating, 60.0 a second · 0 pictures dropped · 0 bytes a token copied to be drawn"
std::string Task::frames_text() const {
  const auto snapshot = shell_.compared().snapshot();
  const double seconds = std::chrono::duration<double>(last_ - first_).count();
  return fmt::format(
      "{} while generating, {:.1f} a second · {} pictures dropped · {:.0f} bytes a token copied to "
      "the host to be drawn",
      drawn_, drawn_ > 1 && seconds > 0.0 ? (drawn_ - 1) / seconds : 0.0,
      shell_.ui().frames_dropped,
      static_cast<double>(snapshot->drawn_bytes_to_host) / std::max(snapshot->n_frames, 1));
}

}  // namespace layerscope::gui

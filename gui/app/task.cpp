#include "gui/app/task.h"

#include <fmt/format.h>

#include "engine/base/utf8.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

constexpr int kSettleFrames = 8;  ///< until thumbnails and maps show the last token

}  // namespace

Result<bool> Task::advance() {
  const auto snapshot = session_.snapshot();
  const bool still = session_.idle() && snapshot->state != session::State::kLoading;
  if (!snapshot->error.empty() && still) {
    return invalid_input(snapshot->error);
  }
  switch (phase_) {
    case Phase::kLoading:
      if (!(options_.model.empty() && options_.attach.empty()) &&
          (snapshot->model == nullptr || !still)) {
        return false;
      }
      if (options_.exit_after >= 0) {
        if (shell_.prompt_waiting() || snapshot->prompt_ids.empty()) {
          return false;  // the shell sends the prompt one frame after the model has come
        }
        if (options_.exit_after > 0) {
          session_.send(session::Run{options_.exit_after});
        } else {
          session_.send(session::Step{0});
        }
      }
      phase_ = Phase::kGenerating;
      return false;
    case Phase::kGenerating:
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
  const auto snapshot = session_.snapshot();
  std::string bytes;
  if (snapshot->model != nullptr && snapshot->model->tokenizer != nullptr) {
    for (int i = snapshot->n_prompt(); i < snapshot->n_frames; ++i) {
      bytes += view::token_bytes(snapshot->model->tokenizer.get(), snapshot->frame(i)->id);
    }
  }
  const session::Timing& timing = snapshot->timing;
  return fmt::format(
      "{}\n\n"
      "model    {} ({}, {} parameters, {})\n"
      "backend  {}: {}\n"
      "prompt   {} tokens, {:.1f} tok/s\n"
      "output   {} tokens ({}), {:.1f} tok/s\n"
      "drawing  {}: {}\n",
      utf8_sanitize(bytes), snapshot->model->name, snapshot->model->architecture,
      view::count_text(snapshot->model->n_params), snapshot->model->quantization,
      snapshot->backend_text, snapshot->backend_reason, snapshot->n_prompt(), timing.prefill_tok_s,
      snapshot->n_generated, session::stop_reason_name(snapshot->stop_reason), timing.decode_tok_s,
      shell_.ui().heatmaps->path_text(), shell_.ui().heatmaps->path_reason());
}

}  // namespace layerscope::gui

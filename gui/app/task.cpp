#include "gui/app/task.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/utf8.h"
#include "gui/view/history_text.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

constexpr int kSettleFrames = 8;    ///< once thumbnails and maps show the last token
constexpr int kMostFrames = 10000;  ///< until they do

}  // namespace

Result<bool> Task::advance() {
  began_round_ = false;
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
      } else if (options_.exit_after >= 0 && rounds_ == 0) {
        if (shell_.prompt_waiting() || snapshot->prompt_ids.empty()) {
          return false;  // the shell sends the prompt one frame after the model has come
        }
        if (options_.exit_after > 0 && options_.rounds == 1) {
          session.send(session::Run{options_.exit_after});
        } else {
          session.send(session::Step{options_.exit_after});  // past the end of a text
        }
      }
      phase_ = Phase::kGenerating;
      return false;
    }
    case Phase::kGenerating:
      generating_ = snapshot->state == session::State::kRunning;
      if (generating_) {
        const auto now = std::chrono::steady_clock::now();
        if (last_) {
          drawing_seconds_ += std::chrono::duration<double>(now - *last_).count();
          ++intervals_;
        }
        last_ = now;
        ++drawn_;
      }
      // The shell takes a snapshot once per frame: of an idle session the second one is the last.
      if (still && idle_version_ == snapshot->version &&
          shell_.ui().snapshot->version == snapshot->version) {
        end_round(*snapshot);
      }
      idle_version_ = still ? std::optional(snapshot->version) : std::nullopt;
      return false;
    case Phase::kDrawing:
      settled_frames_ = shell_.whole() ? settled_frames_ + 1 : 0;
      if (settled_frames_ >= kSettleFrames || ++frames_ >= kMostFrames) {
        phase_ = Phase::kDone;
      }
      return phase_ == Phase::kDone;
    case Phase::kDone:
      return true;
  }
  return true;
}

/// Counts what was generated, then once more from the prompt on or on to the last picture.
void Task::end_round(const session::Snapshot& snapshot) {
  tokens_ += snapshot.n_generated;
  if (snapshot.timing.decode_tok_s > 0.0) {
    seconds_ += snapshot.n_generated / snapshot.timing.decode_tok_s;
  }
  last_.reset();
  idle_version_.reset();
  if (++rounds_ < options_.rounds) {
    session::SessionLink& session = shell_.compared();
    began_round_ = true;
    session.send(session::SetTokens{snapshot.prompt_ids});
    session.send(session::Step{options_.exit_after});
  } else {
    phase_ = Phase::kDrawing;
  }
}

std::string Task::report(const FrameCosts& costs) const {
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
      "output   {} tokens ({}){}, {:.1f} tok/s\n"
      "drawing  {}: {}\n"
      "frames   {}\n"
      "memory   {}\n",
      utf8_sanitize(bytes), model.name, model.architecture, view::count_text(model.n_params),
      model.quantization, snapshot->backend_text, snapshot->backend_reason, snapshot->n_prompt(),
      timing.prefill_tok_s, tokens_, session::stop_reason_name(snapshot->stop_reason),
      rounds_ > 1 ? fmt::format(" in {} rounds", rounds_) : "",
      seconds_ > 0.0 ? tokens_ / seconds_ : 0.0, shell_.ui().heatmaps->path_text(),
      shell_.ui().heatmaps->path_reason(), frames_text(costs), memory_text());
}

/// "812 MiB weights and caches · history 24 MiB of 5.9 GiB"
std::string Task::memory_text() const {
  const auto snapshot = shell_.compared().snapshot();
  return fmt::format("{} weights and caches · {}", view::bytes_text(snapshot->device_bytes),
                     view::history_line(*snapshot));
}

/// "312 while generating, 60.0 a second · 0 pictures dropped · 0 bytes a token copied to be drawn",
/// then what a frame costs.
std::string Task::frames_text(const FrameCosts& costs) const {
  const auto snapshot = shell_.compared().snapshot();
  const backend::DrawCost& drawn = snapshot->draw_cost;
  return fmt::format(
      "{} while generating, {:.1f} a second · {} pictures dropped · {:.0f} bytes a token copied to "
      "the host to be drawn\n"
      "a frame  p50/p95: {} of the window's thread · device: heatmaps {}, interface {} · {} "
      "pictures of {:.3f} ms on the computing GPU",
      drawn_, drawing_seconds_ > 0.0 ? intervals_ / drawing_seconds_ : 0.0,
      shell_.ui().frames_dropped,
      static_cast<double>(snapshot->drawn_bytes_to_host) / std::max(snapshot->n_frames, 1),
      costs.own.short_text(), costs.colouring.short_text(), costs.interface.short_text(),
      drawn.pictures,
      drawn.pictures > 0 ? drawn.gpu_ms / static_cast<double>(drawn.pictures) : 0.0);
}

}  // namespace layerscope::gui

#include "gui/panels/actions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace layerscope::gui {

bool has_model(const Ui& ui) {
  const session::State state = ui.snapshot->state;
  return ui.snapshot->model != nullptr && state != session::State::kLoading &&
         state != session::State::kEmpty;  // a file that is only listed
}

bool is_busy(const Ui& ui) {
  const session::State state = ui.snapshot->state;
  return state == session::State::kLoading || state == session::State::kEvaluating ||
         state == session::State::kRunning;
}

bool prompt_edited(const Ui& ui) {
  const session::Snapshot& s = *ui.snapshot;
  return s.n_prompt() > 0 && (ui.prompt_text != s.prompt || ui.prompt_chat != s.chat);
}

void apply_prompt(Ui& ui) {
  if (!has_model(ui)) {
    return;
  }
  if (is_busy(ui)) {
    ui.send(session::Stop{});
  }
  ui.send(session::SetPrompt{ui.prompt_text, ui.prompt_chat});
  ui.send(session::Step{0});
  select_position(ui, -1);
}

namespace {

void ensure_prompt(Ui& ui) {
  if (ui.snapshot->n_prompt() == 0 && ui.snapshot->n_frames == 0) {
    ui.send(session::SetPrompt{ui.prompt_text, ui.prompt_chat});
  }
}

}  // namespace

void step(Ui& ui) {
  if (!has_model(ui)) {
    return;
  }
  ensure_prompt(ui);
  ui.send(session::Step{1});
  select_position(ui, -1);
}

bool can_step_back(const Ui& ui) {
  return has_model(ui) && !is_busy(ui) && ui.snapshot->n_frames > 1;
}

void step_back(Ui& ui) {
  if (can_step_back(ui)) {
    rewind_to(ui, ui.snapshot->n_frames - 2);
  }
}

void run_or_pause(Ui& ui) {
  if (!has_model(ui)) {
    return;
  }
  if (ui.snapshot->state == session::State::kRunning) {
    ui.send(session::Pause{});
    return;
  }
  ensure_prompt(ui);
  ui.send(session::Run{});
  select_position(ui, -1);
}

void stop(Ui& ui) { ui.send(session::Stop{}); }

std::span<const float> paces() {
  static constexpr std::array kPaces{0.0F, 60.0F, 30.0F, 12.0F, 6.0F, 3.0F, 1.0F, 0.5F};
  return kPaces;
}

std::string pace_text(float pace) {
  return pace > 0.0F ? fmt::format("{:g} tok/s", pace) : std::string("full speed");
}

float& pace_in_use(Ui& ui) {
  const bool recording = ui.snapshot->recording != nullptr;
  return recording ? ui.settings.replay_pace : ui.settings.pace;
}

void follow_pace(Ui& ui) {
  const bool ours = ui.session != nullptr && ui.session->set_pace(double{pace_in_use(ui)});
  ui.widgets.state("app/pace", ours ? pace_text(pace_in_use(ui)) : "");
}

void change_pace(Ui& ui, int step) {
  float& pace = pace_in_use(ui);
  const auto all = paces();
  const auto at = std::min_element(all.begin(), all.end(), [pace](float a, float b) {
    return std::fabs(a - pace) < std::fabs(b - pace);
  });
  const auto next = std::clamp<std::ptrdiff_t>(at - all.begin() - step, 0,
                                               static_cast<std::ptrdiff_t>(all.size()) - 1);
  pace = all[static_cast<std::size_t>(next)];
}

void rewind_to(Ui& ui, int position) {
  if (is_busy(ui)) {
    ui.send(session::Pause{});
  }
  ui.send(session::Rewind{std::max(position, 0)});
  select_position(ui, -1);
}

void branch_after(Ui& ui, int position, std::int32_t id) {
  rewind_to(ui, position);
  ui.send(session::ForceToken{id});
}

void switch_branch(Ui& ui, int id) {
  if (is_busy(ui)) {
    ui.send(session::Pause{});
  }
  ui.send(session::SwitchBranch{id});
  select_position(ui, -1);
}

void undo_rewind(Ui& ui) {
  if (ui.snapshot->undo_branch >= 0) {
    switch_branch(ui, ui.snapshot->undo_branch);
  }
}

void ask_attention(Ui& ui, const session::InspectAttention& part) {
  const capture::TokenFrame* last = ui.snapshot->frame(part.first_query + part.n_queries - 1);
  AttentionRequest& asked = ui.attention_requests[part.use == 0 ? 0 : 1];
  if (last == nullptr || (asked.part == part && asked.last_serial == last->serial)) {
    return;
  }
  asked = {part, last->serial};
  ui.send(part);
}

void select_position(Ui& ui, int position) {
  ui.selection.position = position;
  ui.selection.key_position = -1;
}

}  // namespace layerscope::gui

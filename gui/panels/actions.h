// Actions: what buttons and keys do, in one place, so that both do the same. UI thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "gui/panels/ui.h"

namespace layerscope::gui {

/// True when there is a model and nothing loads.
bool has_model(const Ui& ui);
/// A command is at work: loading, evaluating or generating.
bool is_busy(const Ui& ui);
/// The editor's text or mode differs from the prompt in use.
bool prompt_edited(const Ui& ui);

/// Feeds the editor's text from position 0 and evaluates it.
void apply_prompt(Ui& ui);
/// One more token; sets the prompt first when none is in use yet.
void step(Ui& ui);
/// Takes the newest token back.
void step_back(Ui& ui);
bool can_step_back(const Ui& ui);
void run_or_pause(Ui& ui);
void stop(Ui& ui);

/// The paces that one can choose, tokens a second; 0, the first, is as fast as it goes.
std::span<const float> paces();
/// "full speed", "4 tok/s"
std::string pace_text(float pace);
/// The one in use for what is shown.
float& pace_in_use(Ui& ui);
/// Gives it to the session; call once per frame.
void follow_pace(Ui& ui);
/// To the next slower (−1) or faster (+1) one.
void change_pace(Ui& ui, int step);

/// Keeps positions [0, position] and shows the newest.
void rewind_to(Ui& ui, int position);
/// Goes on after `position` with token `id`.
void branch_after(Ui& ui, int position, std::int32_t id);

/// Makes a branch the present line, following its newest token.
void switch_branch(Ui& ui, int id);
/// Goes back to what the last rewind left; nothing where there is nothing.
void undo_rewind(Ui& ui);

/// Brings a part of a head's map to the host, exactly; asks once for the same tokens.
void ask_attention(Ui& ui, const session::InspectAttention& part);

/// Selects a step; every panel follows. −1 follows the newest.
void select_position(Ui& ui, int position);

}  // namespace layerscope::gui

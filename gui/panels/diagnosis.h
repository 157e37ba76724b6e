// Diagnosis: what findings and faults mean to all panels — badges, colours, going to a place. UI
// thread.
#pragma once

#include <string_view>

#include "gui/panels/panels.h"

namespace layerscope::gui {

/// Once a frame: takes in the snapshot's findings and faults, publishes their states, and writes
/// the tabs' titles.
void follow_diagnosis(Ui& ui, TabTitles& titles);

/// The expensive oracles are at work.
bool is_diagnosing(const Ui& ui);

ImU32 severity_color(const Ui& ui, diagnose::Severity severity);

/// A mark whose shape tells the severity as well as its colour: a disc with "!" is an error, a
/// triangle with "!" a warning, a ring with "i" a note. Registered under `id` unless that is empty.
void draw_badge(Ui& ui, std::string_view id, ImVec2 centre, float radius,
                diagnose::Severity severity);

/// The badge's sentence as a line of an open tooltip; nothing when `badge` is null.
void badge_line(const Ui& ui, const view::Badge* badge);

/// Selects the finding's place in every panel, with its attention map open where a head is named.
void go_to(Ui& ui, const diagnose::Finding& finding);

/// Puts `faults` in force and generates again as many tokens as there are, so that both texts can
/// be compared.
void set_faults(Ui& ui, std::vector<std::string> faults);

}  // namespace layerscope::gui

// What captured data take in memory, in words: the budget, what was dropped, how to keep more.
// Pure.
#pragma once

#include <string>

#include "engine/session/snapshot.h"

namespace layerscope::gui::view {

/// Why the frame at `position` has no attention rows or no statistics, as a sentence that says how
/// to keep them; empty when they were not dropped.
std::string dropped_rows(const session::Snapshot& snapshot, int position);
std::string dropped_statistics(const session::Snapshot& snapshot, int position);
/// The same about a map over all positions: "statistics of steps 0 … 1,203 were dropped …".
std::string dropped_from_map(const session::Snapshot& snapshot);
/// "history 1.2 of 5.9 GiB", and after it what was dropped; empty before anything was captured.
std::string history_line(const session::Snapshot& snapshot);
/// Where the memory goes and what goes first, a line each.
std::string history_lines(const session::Snapshot& snapshot);
/// What an export of steps lacks: "; of 120 steps …"; empty when it is whole.
std::string missing_in_export(const session::Snapshot& snapshot);

}  // namespace layerscope::gui::view

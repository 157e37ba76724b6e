// Export text: what is seen as a command line, as CSV cells and as a page of findings. Pure.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "engine/session/snapshot.h"

namespace layerscope::gui::view {

/// One argument as a POSIX shell reads it back: quoted where needed.
std::string shell_quoted(std::string_view argument);

/// The command line that repeats the session without a window: model, prompt, sampling, faults and
/// number of tokens. Tokens forced by hand cannot be said; a remark then follows after '#'. Empty
/// without a model.
std::string command_line(const session::Snapshot& snapshot);
/// The same run under the checks: `layerscope-cli diagnose …`.
std::string diagnose_command(const session::Snapshot& snapshot);

/// What the Tensors tab shows of a weight: `layerscope-cli inspect MODEL --tensor NAME`; without a
/// name the list of tensors.
std::string inspect_command(const session::Snapshot& snapshot, std::string_view tensor);
/// What the Model tab shows.
std::string metadata_command(const session::Snapshot& snapshot);

/// What a panel shows, computed again without a window: `panel` is a panel's id ("attention",
/// "kv", …), `layer` and `tensor` the selection, `reference` the file that is compared with. Shell
/// syntax; empty where nothing can be repeated (the log, an empty window).
std::string panel_command(const session::Snapshot& snapshot, std::string_view panel, int layer,
                          std::string_view tensor, std::string_view reference);

/// One CSV line (RFC 4180): fields with commas, quotes or line ends are quoted.
std::string csv_line(std::initializer_list<std::string_view> fields);

}  // namespace layerscope::gui::view

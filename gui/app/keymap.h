// Keymap: every action of the program with its key, in one table. F1 shows it, tooltips quote it
// and the dispatcher reads it. Pure data and lookups.
#pragma once

#include <imgui.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace layerscope::gui {

enum class Action {
  kOpen,
  kSystemDialog,
  kOpenRemote,
  kScreenshot,
  kQuit,
  kStep,
  kStepBack,
  kRunPause,
  kStop,
  kSlower,
  kFaster,
  kRestart,
  kUndo,
  kPreviousToken,
  kNextToken,
  kFirstToken,
  kFollowNewest,
  kPreviousLayer,
  kNextLayer,
  kPreviousHead,
  kNextHead,
  kToggleHead,
  kLargerText,
  kSmallerText,
  kResetText,
  kToggleTheme,
  kToggleBottom,
  kFind,
  kPalette,
  kCopyCommand,
  kKeys,
  kDismiss,
};

struct Binding {
  Action action;
  const char* group;
  const char* text;  ///< what it does
  ImGuiKeyChord chord;
  /// Also works while text is being typed (function keys, Ctrl combinations that editors don't
  /// use).
  bool while_typing;
};

/// All bindings, grouped, in the order in which F1 lists them.
std::span<const Binding> bindings();

/// "Ctrl+O", "Shift+F10", "Left"
std::string chord_text(ImGuiKeyChord chord);

/// The key of an action as text, for tooltips.
std::string key_text(Action action);

/// "Ctrl+Shift+F5" → chord; names as chord_text writes them, any case. Error (kUsage): unknown
/// name.
Result<ImGuiKeyChord> parse_chord(std::string_view text);

/// True for chords that a window takes from the display server's own key events, one by one and
/// with the modifiers of that moment: those with Ctrl or Alt, and function keys. Dear ImGui's state
/// is one per frame: a chord that is pressed and released within a slow frame would be lost.
bool is_command_chord(ImGuiKeyChord chord);

/// The action of a chord. `typing`: a text field has the keyboard.
std::optional<Action> chord_action(ImGuiKeyChord chord, bool typing);

/// The action whose key was pressed in this frame (needs an ImGui frame). `commands`: command
/// chords too, where nothing else delivers them.
std::optional<Action> pressed_action(bool typing, bool commands);

}  // namespace layerscope::gui

#include "gui/app/keymap.h"

#include <fmt/format.h>

#include <array>
#include <cctype>

namespace layerscope::gui {
namespace {

constexpr std::array kBindings{
    Binding{Action::kOpen, "File", "Open a model…", ImGuiMod_Ctrl | ImGuiKey_O, true},
    Binding{Action::kSystemDialog, "File", "Open with the system's dialog…",
            ImGuiMod_Ctrl | ImGuiMod_Shift | ImGuiKey_O, true},
    Binding{Action::kOpenRemote, "File", "Attach to a worker…",
            ImGuiMod_Ctrl | ImGuiMod_Shift | ImGuiKey_R, true},
    Binding{Action::kScreenshot, "File", "Save the window as PNG", ImGuiKey_F12, true},
    Binding{Action::kCopyCommand, "File", "Copy the run as a command",
            ImGuiMod_Ctrl | ImGuiMod_Shift | ImGuiKey_C, true},
    Binding{Action::kQuit, "File", "Quit", ImGuiMod_Ctrl | ImGuiKey_Q, true},
    Binding{Action::kStep, "Generate", "Generate one token", ImGuiKey_F10, true},
    Binding{Action::kStepBack, "Generate", "Take back the newest token",
            ImGuiMod_Shift | ImGuiKey_F10, true},
    Binding{Action::kRunPause, "Generate", "Run or pause", ImGuiKey_F5, true},
    Binding{Action::kStop, "Generate", "Stop at once", ImGuiMod_Shift | ImGuiKey_F5, true},
    Binding{Action::kSlower, "Generate", "Slower: fewer tokens a second",
            ImGuiMod_Alt | ImGuiKey_DownArrow, false},
    Binding{Action::kFaster, "Generate", "Faster", ImGuiMod_Alt | ImGuiKey_UpArrow, false},
    Binding{Action::kRestart, "Generate", "Start again from the prompt", ImGuiMod_Ctrl | ImGuiKey_R,
            true},
    Binding{Action::kUndo, "Generate", "Undo the last rewind", ImGuiMod_Ctrl | ImGuiKey_Z, false},
    Binding{Action::kPreviousToken, "Look", "Previous token", ImGuiKey_LeftArrow, false},
    Binding{Action::kNextToken, "Look", "Next token", ImGuiKey_RightArrow, false},
    Binding{Action::kFirstToken, "Look", "First token", ImGuiKey_Home, false},
    Binding{Action::kFollowNewest, "Look", "Follow the newest token", ImGuiKey_End, false},
    Binding{Action::kPreviousLayer, "Look", "Previous layer", ImGuiKey_UpArrow, false},
    Binding{Action::kNextLayer, "Look", "Next layer", ImGuiKey_DownArrow, false},
    Binding{Action::kPreviousHead, "Look", "Previous head", ImGuiMod_Shift | ImGuiKey_LeftArrow,
            false},
    Binding{Action::kNextHead, "Look", "Next head", ImGuiMod_Shift | ImGuiKey_RightArrow, false},
    Binding{Action::kToggleHead, "Look", "Show or hide the head's map", ImGuiKey_Enter, false},
    Binding{Action::kFind, "Look", "Find in the text", ImGuiMod_Ctrl | ImGuiKey_F, true},
    Binding{Action::kPalette, "Window", "Command palette", ImGuiMod_Ctrl | ImGuiKey_P, true},
    Binding{Action::kToggleBottom, "Window", "Enlarge the bottom tabs", ImGuiMod_Ctrl | ImGuiKey_B,
            true},
    Binding{Action::kLargerText, "Window", "Larger text", ImGuiMod_Ctrl | ImGuiKey_Equal, true},
    Binding{Action::kSmallerText, "Window", "Smaller text", ImGuiMod_Ctrl | ImGuiKey_Minus, true},
    Binding{Action::kResetText, "Window", "Normal text", ImGuiMod_Ctrl | ImGuiKey_0, true},
    Binding{Action::kToggleTheme, "Window", "Dark or light", ImGuiMod_Ctrl | ImGuiKey_T, true},
    Binding{Action::kKeys, "Window", "Show all keys", ImGuiKey_F1, true},
    Binding{Action::kDismiss, "Window", "Dismiss the message", ImGuiKey_Escape, false},
};

struct Name {
  const char* text;
  ImGuiKey key;
};
// Shorter names than Dear ImGui's; the first of a key is the one that is shown.
constexpr std::array kNames{
    Name{"Left", ImGuiKey_LeftArrow}, Name{"Right", ImGuiKey_RightArrow},
    Name{"Up", ImGuiKey_UpArrow},     Name{"Down", ImGuiKey_DownArrow},
    Name{"Esc", ImGuiKey_Escape},     Name{"Plus", ImGuiKey_Equal},
    Name{"Minus", ImGuiKey_Minus},    Name{"Return", ImGuiKey_Enter},
    Name{"Del", ImGuiKey_Delete},     Name{"Space", ImGuiKey_Space},
};

bool same(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(a[i])) !=
        std::tolower(static_cast<unsigned char>(b[i]))) {
      return false;
    }
  }
  return true;
}

ImGuiKey find_key(std::string_view name) {
  for (const Name& entry : kNames) {
    if (same(entry.text, name)) {
      return entry.key;
    }
  }
  for (int key = ImGuiKey_NamedKey_BEGIN; key < ImGuiKey_GamepadStart; ++key) {
    if (same(ImGui::GetKeyName(static_cast<ImGuiKey>(key)), name)) {
      return static_cast<ImGuiKey>(key);
    }
  }
  return ImGuiKey_None;
}

}  // namespace

std::span<const Binding> bindings() { return kBindings; }

std::string chord_text(ImGuiKeyChord chord) {
  std::string text;
  if ((chord & ImGuiMod_Ctrl) != 0) {
    text += "Ctrl+";
  }
  if ((chord & ImGuiMod_Alt) != 0) {
    text += "Alt+";
  }
  if ((chord & ImGuiMod_Shift) != 0) {
    text += "Shift+";
  }
  const auto key = static_cast<ImGuiKey>(chord & ~ImGuiMod_Mask_);
  if (key != ImGuiKey_Enter) {
    for (const Name& entry : kNames) {
      if (entry.key == key) {
        return text + entry.text;
      }
    }
  }
  return text + ImGui::GetKeyName(key);
}

std::string key_text(Action action) {
  for (const Binding& binding : kBindings) {
    if (binding.action == action) {
      return chord_text(binding.chord);
    }
  }
  return {};
}

Result<ImGuiKeyChord> parse_chord(std::string_view text) {
  ImGuiKeyChord chord = 0;
  std::string_view rest = text;
  for (;;) {
    const std::size_t plus = rest.find('+');
    const std::string_view part = rest.substr(0, plus);
    if (plus == std::string_view::npos) {
      const ImGuiKey key = find_key(part);
      if (key == ImGuiKey_None) {
        return usage_error(fmt::format("unknown key '{}' (as in Ctrl+O, F10, Left, Enter)", text));
      }
      return chord | key;
    }
    if (same(part, "Ctrl")) {
      chord |= ImGuiMod_Ctrl;
    } else if (same(part, "Shift")) {
      chord |= ImGuiMod_Shift;
    } else if (same(part, "Alt")) {
      chord |= ImGuiMod_Alt;
    } else {
      return usage_error(
          fmt::format("unknown modifier '{}' in '{}' (Ctrl, Shift, Alt)", part, text));
    }
    rest.remove_prefix(plus + 1);
  }
}

bool is_command_chord(ImGuiKeyChord chord) {
  const auto key = static_cast<ImGuiKey>(chord & ~ImGuiMod_Mask_);
  return (chord & (ImGuiMod_Ctrl | ImGuiMod_Alt)) != 0 ||
         (key >= ImGuiKey_F1 && key <= ImGuiKey_F24);
}

std::optional<Action> chord_action(ImGuiKeyChord chord, bool typing) {
  // The key pad's signs mean the same as those of the main block.
  if (chord == (ImGuiMod_Ctrl | ImGuiKey_KeypadAdd)) {
    return Action::kLargerText;
  }
  if (chord == (ImGuiMod_Ctrl | ImGuiKey_KeypadSubtract)) {
    return Action::kSmallerText;
  }
  for (const Binding& binding : kBindings) {
    if (binding.chord == chord) {
      return !typing || binding.while_typing ? std::optional<Action>(binding.action) : std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<Action> pressed_action(bool typing, bool commands) {
  for (const Binding& binding : kBindings) {
    const bool allowed =
        (!typing || binding.while_typing) && (commands || !is_command_chord(binding.chord));
    // Arrow keys repeat while they are held; nothing else does.
    const auto key = static_cast<ImGuiKey>(binding.chord & ~ImGuiMod_Mask_);
    const bool repeats = key >= ImGuiKey_LeftArrow && key <= ImGuiKey_DownArrow;
    if (allowed && ImGui::GetIO().KeyMods == (binding.chord & ImGuiMod_Mask_) &&
        ImGui::IsKeyPressed(key, repeats)) {
      return binding.action;
    }
  }
  for (const ImGuiKey sign : {ImGuiKey_KeypadAdd, ImGuiKey_KeypadSubtract}) {
    if (commands && ImGui::IsKeyChordPressed(ImGuiMod_Ctrl | sign)) {
      return chord_action(ImGuiMod_Ctrl | sign, typing);
    }
  }
  return std::nullopt;
}

}  // namespace layerscope::gui

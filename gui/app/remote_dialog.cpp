#include "gui/app/remote_dialog.h"

#include <imgui.h>
#include <imgui_stdlib.h>

#include <utility>

#include "gui/app/theme.h"
#include "gui/panels/widgets.h"

namespace layerscope::gui {

void RemoteDialog::field(Ui& ui, const char* id, const char* hint, std::string& value, int flags,
                         bool* entered) {
  ImGui::PushID(id);
  ImGui::SetNextItemWidth(px(ui, 420.0F));
  *entered = ImGui::InputTextWithHint("##field", hint, &value,
                                      flags | ImGuiInputTextFlags_EnterReturnsTrue) ||
             *entered;
  ImGui::PopID();
  ui.widgets.mark(id);
}

std::optional<RemoteChoice> RemoteDialog::draw(Ui& ui, float scale) {
  constexpr const char* kTitle = "Open remote";
  if (visible_ && !ImGui::IsPopupOpen(kTitle)) {
    ImGui::OpenPopup(kTitle);
  }
  ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Always, {0.5F, 0.5F});
  if (!begin_dialog(kTitle, &visible_, scale, ImGuiWindowFlags_AlwaysAutoResize)) {
    return std::nullopt;
  }
  ui.widgets.state("remote", "visible");
  const Palette& c = colors(ui);
  bool entered = false;
  text(c.quiet, "Address of a worker (layerscope-cli serve)");
  field(ui, "remote/url", "http://HOST:PORT", url_, 0, &entered);
  ImGui::Spacing();
  text(c.quiet, "Token, where the worker asks for one");
  field(ui, "remote/token", "bearer token", token_, ImGuiInputTextFlags_Password, &entered);
  ImGui::Spacing();
  text(c.faint, "The token travels unencrypted: between machines use a tunnel (ssh -L).");
  ImGui::Spacing();
  std::optional<RemoteChoice> choice;
  if (button(ui, "remote/connect", "Connect", Look::kPrimary, "Attach to the worker  ·  Enter") ||
      entered) {
    choice = RemoteChoice{url_, std::exchange(token_, {})};
  }
  ImGui::SameLine();
  const bool cancel = button(ui, "remote/cancel", "Cancel", Look::kPlain, "Esc") ||
                      ImGui::IsKeyPressed(ImGuiKey_Escape, false);
  if (choice || cancel) {
    token_.clear();
    visible_ = false;
    ImGui::CloseCurrentPopup();
  }
  ImGui::EndPopup();
  return choice;
}

}  // namespace layerscope::gui

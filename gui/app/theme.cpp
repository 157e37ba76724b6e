#include "gui/app/theme.h"

#include "gui/panels/colors.h"

namespace layerscope::gui {
namespace {

ImVec4 color(ImU32 packed, float alpha = 1.0F) {
  ImVec4 c = ImGui::ColorConvertU32ToFloat4(packed);
  c.w = alpha;
  return c;
}

}  // namespace

void apply_theme(bool dark, float scale) {
  const Palette& p = palette(dark);
  ImGuiStyle style;
  style.WindowPadding = ImVec2(12, 10);
  style.FramePadding = ImVec2(9, 5);
  style.ItemSpacing = ImVec2(8, 6);
  style.ItemInnerSpacing = ImVec2(6, 4);
  style.CellPadding = ImVec2(8, 4);
  style.IndentSpacing = 16;
  style.ScrollbarSize = 11;
  style.GrabMinSize = 10;
  style.WindowBorderSize = 0;
  style.ChildBorderSize = 1;
  style.PopupBorderSize = 1;
  style.FrameBorderSize = 0;
  style.TabBorderSize = 0;
  style.TabBarOverlineSize = 2;
  style.WindowRounding = 0;
  style.ChildRounding = 5;
  style.FrameRounding = 5;
  style.PopupRounding = 6;
  style.ScrollbarRounding = 6;
  style.GrabRounding = 4;
  style.TabRounding = 4;
  style.WindowTitleAlign = ImVec2(0.0F, 0.5F);
  style.SeparatorTextBorderSize = 1;
  style.DisabledAlpha = 0.45F;
  style.HoverDelayNormal = 0.35F;
  style.ScaleAllSizes(scale);
  style.FontSizeBase = kTextSize;
  style.FontScaleDpi = scale;

  const ImVec4 none(0, 0, 0, 0);
  ImVec4* c = style.Colors;
  c[ImGuiCol_Text] = color(p.text);
  c[ImGuiCol_TextDisabled] = color(p.quiet);
  c[ImGuiCol_TextLink] = color(p.accent);
  c[ImGuiCol_WindowBg] = color(p.panel);
  c[ImGuiCol_ChildBg] = none;
  c[ImGuiCol_PopupBg] = color(mix(p.panel, p.card, 0.5F));
  c[ImGuiCol_Border] = color(p.border);
  c[ImGuiCol_BorderShadow] = none;
  c[ImGuiCol_FrameBg] = color(p.plot);
  c[ImGuiCol_FrameBgHovered] = color(mix(p.plot, p.hover, 0.5F));
  c[ImGuiCol_FrameBgActive] = color(mix(p.plot, p.hover, 0.8F));
  c[ImGuiCol_TitleBg] = color(p.panel);
  c[ImGuiCol_TitleBgActive] = color(p.panel);
  c[ImGuiCol_TitleBgCollapsed] = color(p.panel);
  c[ImGuiCol_MenuBarBg] = color(p.panel);
  c[ImGuiCol_ScrollbarBg] = none;
  c[ImGuiCol_ScrollbarGrab] = color(p.border);
  c[ImGuiCol_ScrollbarGrabHovered] = color(p.faint);
  c[ImGuiCol_ScrollbarGrabActive] = color(p.quiet);
  c[ImGuiCol_CheckMark] = color(p.accent);
  c[ImGuiCol_SliderGrab] = color(mix(p.border, p.accent, 0.7F));
  c[ImGuiCol_SliderGrabActive] = color(p.accent);
  c[ImGuiCol_Button] = color(p.card);
  c[ImGuiCol_ButtonHovered] = color(p.hover);
  c[ImGuiCol_ButtonActive] = color(mix(p.hover, p.accent, 0.25F));
  c[ImGuiCol_Header] = color(p.accent, 0.16F);
  c[ImGuiCol_HeaderHovered] = color(p.accent, 0.10F);
  c[ImGuiCol_HeaderActive] = color(p.accent, 0.26F);
  c[ImGuiCol_Separator] = color(p.border);
  c[ImGuiCol_SeparatorHovered] = color(p.accent);
  c[ImGuiCol_SeparatorActive] = color(p.accent);
  c[ImGuiCol_ResizeGrip] = none;
  c[ImGuiCol_ResizeGripHovered] = color(p.accent);
  c[ImGuiCol_ResizeGripActive] = color(p.accent);
  c[ImGuiCol_InputTextCursor] = color(p.accent);
  c[ImGuiCol_Tab] = none;
  c[ImGuiCol_TabHovered] = color(p.hover);
  c[ImGuiCol_TabSelected] = color(p.card);
  c[ImGuiCol_TabSelectedOverline] = color(p.accent);
  c[ImGuiCol_TabDimmed] = none;
  c[ImGuiCol_TabDimmedSelected] = color(p.card);
  c[ImGuiCol_TabDimmedSelectedOverline] = color(p.accent);
  c[ImGuiCol_PlotLines] = color(p.accent);
  c[ImGuiCol_PlotLinesHovered] = color(p.warn);
  c[ImGuiCol_PlotHistogram] = color(p.accent);
  c[ImGuiCol_PlotHistogramHovered] = color(p.warn);
  c[ImGuiCol_TableHeaderBg] = color(mix(p.panel, p.card, 0.6F));
  c[ImGuiCol_TableBorderStrong] = color(p.border);
  c[ImGuiCol_TableBorderLight] = color(p.border, 0.6F);
  c[ImGuiCol_TableRowBg] = none;
  c[ImGuiCol_TableRowBgAlt] = color(p.text, 0.02F);
  c[ImGuiCol_TextSelectedBg] = color(p.accent, 0.30F);
  c[ImGuiCol_DragDropTarget] = color(p.accent);
  c[ImGuiCol_NavCursor] = color(p.accent);
  c[ImGuiCol_NavWindowingHighlight] = color(p.accent);
  c[ImGuiCol_ModalWindowDimBg] = ImVec4(0, 0, 0, dark ? 0.55F : 0.35F);
  ImGui::GetStyle() = style;
}

bool begin_dialog(const char* title, bool* open, float scale, ImGuiWindowFlags flags) {
  ImGui::PushStyleVar(ImGuiStyleVar_WindowRounding, 8.0F * scale);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, 1.0F);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {16.0F * scale, 14.0F * scale});
  ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, {16.0F * scale, 10.0F * scale});
  const bool visible = ImGui::BeginPopupModal(
      title, open, flags | ImGuiWindowFlags_NoSavedSettings | ImGuiWindowFlags_NoMove);
  ImGui::PopStyleVar(4);
  return visible;
}

}  // namespace layerscope::gui

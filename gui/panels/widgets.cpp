#include "gui/panels/widgets.h"

#include <fmt/format.h>
#include <imgui_internal.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "gui/view/color_map.h"
#include "gui/view/frames.h"
#include "gui/view/text.h"

namespace layerscope::gui {

FontScope::FontScope(ImFont* font, float factor) {
  ImGui::PushFont(font, factor == 1.0F ? 0.0F : ImGui::GetStyle().FontSizeBase * factor);
}

void section_title(const Ui& ui, std::string_view text_value) {
  std::string upper(text_value);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  const FontScope font(ui.fonts.bold, 0.86F);
  ImGui::AlignTextToFramePadding();
  text(colors(ui).quiet, upper);
}

void subtitle(const Ui& ui, std::string_view text_value) {
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  const FontScope font(nullptr, 0.86F);
  ImGui::AlignTextToFramePadding();
  text(colors(ui).quiet, text_value);
}

void text(ImU32 color, std::string_view value) {
  ImGui::PushStyleColor(ImGuiCol_Text, color);
  ImGui::TextUnformatted(value.data(), value.data() + value.size());
  ImGui::PopStyleColor();
}

std::string fitted(std::string_view value, float width) {
  const auto wide = [&](std::size_t bytes) {
    return ImGui::CalcTextSize(value.data(), value.data() + bytes).x;
  };
  if (wide(value.size()) <= width) {
    return std::string(value);
  }
  const float room = width - ImGui::CalcTextSize("…").x;
  std::size_t low = 0;
  std::size_t high = value.size();
  while (low + 1 < high) {
    const std::size_t middle = (low + high) / 2;
    (wide(middle) <= room ? low : high) = middle;
  }
  while (low > 0 && (static_cast<unsigned char>(value[low]) & 0xC0U) == 0x80U) {
    --low;  // not inside a character
  }
  return std::string(value.substr(0, low)) + "…";
}

void text_elided(ImU32 color, std::string_view value, float width) {
  const char* const end = value.data() + value.size();
  const ImVec2 size = ImGui::CalcTextSize(value.data(), end);
  if (size.x <= width) {
    text(color, value);
    return;
  }
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const ImVec2 max{min.x + std::max(width, 1.0F), min.y + size.y};
  ImGui::Dummy({max.x - min.x, size.y});
  ImGui::PushStyleColor(ImGuiCol_Text, color);
  ImGui::RenderTextEllipsis(ImGui::GetWindowDrawList(), min, max, max.x, value.data(), end, &size);
  ImGui::PopStyleColor();
  tip(value);
}

void mono(const Ui& ui, ImU32 color, std::string_view value) {
  const FontScope font(ui.fonts.mono);
  text(color, value);
}

void mono_right(const Ui& ui, ImU32 color, std::string_view value, float right) {
  const FontScope font(ui.fonts.mono);
  const float width = ImGui::CalcTextSize(value.data(), value.data() + value.size()).x;
  ImGui::SameLine(std::max(0.0F, right - width));
  text(color, value);
}

void tip(std::string_view value) {
  if (!value.empty() &&
      ImGui::IsItemHovered(ImGuiHoveredFlags_ForTooltip | ImGuiHoveredFlags_AllowWhenDisabled)) {
    if (ImGui::BeginTooltip()) {
      ImGui::PushTextWrapPos(ImGui::GetFontSize() * 32.0F);
      ImGui::TextUnformatted(value.data(), value.data() + value.size());
      ImGui::PopTextWrapPos();
      ImGui::EndTooltip();
    }
  }
}

ImVec2 button_size(const Ui& ui, std::string_view label) {
  const ImVec2 size = ImGui::CalcTextSize(label.data(), label.data() + label.size());
  return {size.x + px(ui, 18.0F), size.y + 2.0F * ImGui::GetStyle().FramePadding.y};
}

bool button(Ui& ui, std::string_view id, std::string_view label, Look look, std::string_view help,
            bool enabled) {
  const Palette& c = colors(ui);
  ImVec2 size = button_size(ui, label);
  if (look == Look::kLink) {
    size.x -= px(ui, 18.0F);
  }
  ImGui::PushID(id.data(), id.data() + id.size());
  ImGui::BeginDisabled(!enabled);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const bool pressed = ImGui::InvisibleButton("button", size, ImGuiButtonFlags_EnableNav);
  const bool hovered = ImGui::IsItemHovered();
  const bool focused = ImGui::IsItemFocused() && ImGui::GetIO().NavVisible;
  ImGui::EndDisabled();
  ImGui::PopID();
  ui.widgets.mark(id);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const ImVec2 max{min.x + size.x, min.y + size.y};
  ImU32 fill = hovered ? c.hover : c.card;
  ImU32 ink = look == Look::kOn ? c.accent : c.text;
  ImU32 edge = c.border;
  if (look == Look::kPrimary) {
    fill = hovered ? mix(c.accent_fill, c.accent, 0.2F) : c.accent_fill;
    ink = c.accent_text;
    edge = c.accent_fill;
  } else if (look == Look::kOn) {
    fill = mix(c.card, c.accent, 0.16F);
    edge = mix(c.border, c.accent, 0.5F);
  } else if (look == Look::kWarn) {
    ink = c.warn;
    fill = mix(c.panel, c.warn, hovered ? 0.22F : 0.10F);
    edge = mix(c.panel, c.warn, 0.5F);
  } else if (look == Look::kLink) {
    ink = hovered ? c.text : c.accent;
  }
  if (!enabled) {
    fill = c.panel;
    ink = c.faint;
  }
  if (look != Look::kLink) {
    const float round = px(ui, 4.0F);
    draw->AddRectFilled(min, max, fill, round);
    draw->AddRect(min, max, focused ? c.accent : edge, round);
  }
  const ImVec2 extent = ImGui::CalcTextSize(label.data(), label.data() + label.size());
  draw->AddText({min.x + (size.x - extent.x) / 2.0F, min.y + (size.y - extent.y) / 2.0F}, ink,
                label.data(), label.data() + label.size());
  tip(help);
  return pressed && enabled;
}

void chip(Ui& ui, std::string_view id, std::string_view label, ImU32 color, std::string_view help) {
  const Palette& c = colors(ui);
  const ImVec2 size = button_size(ui, label);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  ImGui::Dummy(size);
  ui.widgets.mark(id);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const ImVec2 max{min.x + size.x, min.y + size.y};
  draw->AddRectFilled(min, max, color == 0 ? c.card : mix(c.panel, color, 0.10F), px(ui, 4.0F));
  draw->AddRect(min, max, color == 0 ? c.border : mix(c.panel, color, 0.5F), px(ui, 4.0F));
  draw->AddText({min.x + px(ui, 9.0F), min.y + ImGui::GetStyle().FramePadding.y},
                color == 0 ? c.text : color, label.data(), label.data() + label.size());
  tip(help);
}

void empty_state(Ui& ui, std::string_view where, std::string_view title, std::string_view hint) {
  const Palette& c = colors(ui);
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const ImVec2 start = ImGui::GetCursorPos();
  const float wrap = std::max(px(ui, 60.0F), std::min(room.x - px(ui, 16.0F), px(ui, 380.0F)));
  const auto extent = [wrap](std::string_view value) {
    return ImGui::CalcTextSize(value.data(), value.data() + value.size(), false, wrap);
  };
  const float height = extent(title).y + extent(hint).y + px(ui, 6.0F);
  ImGui::SetCursorPosY(start.y + std::max(0.0F, (room.y - height) * 0.42F));
  const ImVec2 top = ImGui::GetCursorScreenPos();
  const auto centred = [&](ImU32 color, std::string_view value) {
    const char* at = value.data();
    const char* const end = at + value.size();
    while (at < end) {
      const char* line_end =
          ImGui::GetFont()->CalcWordWrapPosition(ImGui::GetFontSize(), at, end, wrap);
      line_end = line_end == at ? end : line_end;
      const float width = ImGui::CalcTextSize(at, line_end).x;
      ImGui::SetCursorPosX(start.x + std::max(0.0F, (room.x - width) / 2.0F));
      text(color, {at, static_cast<std::size_t>(line_end - at)});
      at = line_end;
      while (at < end && *at == ' ') {
        ++at;
      }
    }
  };
  centred(c.text, title);
  centred(c.quiet, hint);
  ui.widgets.mark_rect(fmt::format("{}/empty", where), top,
                       {top.x + std::max(room.x, 1.0F), ImGui::GetItemRectMax().y});
}

void empty_until_run(Ui& ui, std::string_view where, std::string_view title,
                     std::string_view hint) {
  if (is_only_listed(ui)) {
    title = "This file cannot be run";
    hint = "Its header is in the Model tab, its weights in the Tensors tab.";
  }
  empty_state(ui, where, title, hint);
}

ColorMap chosen_map(const Ui& ui) {
  return static_cast<ColorMap>(std::clamp(ui.settings.color_map, 0, 2));
}

namespace {

ColorMap resolved(const Ui& ui, ColorMap map) {
  return map == ColorMap::kChosen ? chosen_map(ui) : map;
}

}  // namespace

TextureHandle heatmap_texture(Ui& ui, std::string_view key, HeatmapData data) {
  if (ui.heatmaps == nullptr || data.width <= 0 || data.height <= 0) {
    return 0;
  }
  data.color_map = resolved(ui, data.color_map);
  return ui.heatmaps->texture(key, data);
}

void heatmap(Ui& ui, std::string_view key, const HeatmapData& data, ImVec2 min, ImVec2 max,
             ImVec2 uv_max) {
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const TextureHandle texture = heatmap_texture(ui, key, data);
  if (texture == 0) {
    draw->AddRectFilled(min, max, colors(ui).plot);
  } else {
    draw->AddImage(ImTextureRef(static_cast<ImTextureID>(texture)), min, max, {0.0F, 0.0F}, uv_max);
  }
}

void color_bar(Ui& ui, std::string_view key, const HeatmapData& of, float width,
               std::string_view note) {
  // 256 steps of the same map over 0 … 1, so that the bar is coloured by the very same shader.
  static const std::vector<float> kRamp = [] {
    std::vector<float> ramp(256);
    for (std::size_t i = 0; i < ramp.size(); ++i) {
      ramp[i] = static_cast<float>(i) / 255.0F;
    }
    return ramp;
  }();
  HeatmapData data;
  data.width = static_cast<int>(kRamp.size());
  data.height = 1;
  data.values = kRamp;
  data.version = 1;
  data.flag = false;
  data.color_map = resolved(ui, of.color_map);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const float height = px(ui, 9.0F);
  heatmap(ui, key, data, min, {min.x + width, min.y + height});
  const std::string what = fmt::format("{}{}", view::color_map_name(data.color_map),
                                       of.log_scale ? " · logarithmic" : " · linear");
  if (of.color_map == ColorMap::kChosen) {
    ImGui::PushID(key.data(), key.data() + key.size());
    if (ImGui::InvisibleButton("bar", {width, height})) {
      ui.settings.color_map = (static_cast<int>(data.color_map) + 1) % 3;
    }
    ImGui::PopID();
    ui.widgets.mark(key);
    tip(what + "\nClick for the next colour map");
  } else {
    ImGui::Dummy({width, height});
    tip(what);
  }
  const FontScope font(ui.fonts.mono, 0.86F);
  const ImU32 quiet = colors(ui).quiet;
  const std::string lo = view::number_text(static_cast<double>(of.lo));
  const std::string hi = view::number_text(static_cast<double>(of.hi));
  const float line = ImGui::GetCursorScreenPos().y;
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddText({min.x, line}, quiet, lo.c_str());
  const float hi_width = ImGui::CalcTextSize(hi.c_str()).x;
  draw->AddText({min.x + width - hi_width, line}, quiet, hi.c_str());
  const float note_width = ImGui::CalcTextSize(note.data(), note.data() + note.size()).x;
  if (note_width + 3.0F * hi_width < width) {
    draw->AddText({min.x + (width - note_width) / 2.0F, line}, quiet, note.data(),
                  note.data() + note.size());
  }
  ImGui::Dummy({width, ImGui::GetTextLineHeight()});
}

bool combo(Ui& ui, std::string_view id, std::string_view label, int& index,
           const char* const* items, int n_items) {
  const Palette& c = colors(ui);
  index = std::clamp(index, 0, n_items - 1);
  const std::string shown = fmt::format("{}{} ▾", label, items[index]);
  bool changed = false;
  ImGui::PushID(id.data(), id.data() + id.size());
  const ImVec2 size = ImGui::CalcTextSize(shown.c_str());
  const ImVec2 min = ImGui::GetCursorScreenPos();
  if (ImGui::InvisibleButton("combo", {size.x, size.y + 2.0F * ImGui::GetStyle().FramePadding.y},
                             ImGuiButtonFlags_EnableNav)) {
    ImGui::OpenPopup("items");
  }
  const bool hovered = ImGui::IsItemHovered();
  ui.widgets.mark(id);
  ImGui::GetWindowDrawList()->AddText({min.x, min.y + ImGui::GetStyle().FramePadding.y},
                                      hovered ? c.text : c.quiet, shown.c_str());
  if (begin_popup("items")) {
    for (int i = 0; i < n_items; ++i) {
      if (ImGui::Selectable(items[i], i == index)) {
        index = i;
        changed = true;
      }
      ui.widgets.mark(fmt::format("{}/{}", id, items[i]));
    }
    ImGui::EndPopup();
  }
  ImGui::PopID();
  return changed;
}

bool search_field(Ui& ui, std::string_view id, std::string& value, const char* hint, float width) {
  ImGui::PushID(id.data(), id.data() + id.size());
  ImGui::SetNextItemWidth(width);
  const bool changed = ImGui::InputTextWithHint("##field", hint, &value);
  ImGui::PopID();
  ui.widgets.mark(id);
  ui.widgets.state(fmt::format("{}/text", id), value);
  if (!ImGui::IsItemActive()) {
    tip(hint);  // over what is being typed it would hide the results
  }
  return changed;
}

void fact(const Ui& ui, std::string_view name, std::string_view value) {
  text(colors(ui).quiet, name);
  ImGui::SameLine(ImGui::GetFontSize() * 7.0F);
  const FontScope font(ui.fonts.mono);
  // A tooltip grows with its text; a pane does not.
  const bool grows = (ImGui::GetCurrentWindow()->Flags &
                      (ImGuiWindowFlags_Tooltip | ImGuiWindowFlags_AlwaysAutoResize)) != 0;
  if (grows) {
    text(colors(ui).text, value);
  } else {
    text_elided(colors(ui).text, value, ImGui::GetContentRegionAvail().x);
  }
}

bool begin_popup(const char* name) {
  if (!ImGui::BeginPopup(name)) {
    return false;
  }
  if (ImGui::IsKeyPressed(ImGuiKey_Escape, false)) {
    ImGui::CloseCurrentPopup();
    ImGui::EndPopup();
    return false;  // a submenu drawn in this frame would open again, without its menu
  }
  return true;
}

bool is_only_listed(const Ui& ui) {
  return ui.snapshot->model != nullptr && ui.snapshot->state == session::State::kEmpty;
}

const tokenizer::Tokenizer* tokenizer_of(const Ui& ui) {
  return ui.snapshot->model != nullptr ? ui.snapshot->model->tokenizer.get() : nullptr;
}

std::string token_label(const Ui& ui, int position) {
  return fmt::format("{} {}", position,
                     view::quoted_token(tokenizer_of(ui), view::token_id(*ui.snapshot, position)));
}

}  // namespace layerscope::gui

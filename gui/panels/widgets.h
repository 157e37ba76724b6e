// Widgets: what the panels share — titles, chips, buttons, empty states, tooltips, heatmap images.
// UI thread; every function draws into the current ImGui window.
#pragma once

#include <imgui.h>

#include <string>
#include <string_view>

#include "gui/panels/colors.h"
#include "gui/panels/ui.h"

namespace layerscope::gui {

inline const Palette& colors(const Ui& ui) { return palette(ui.settings.dark); }

/// Design pixels → screen pixels (DPI and font size).
inline float px(const Ui& ui, float v) { return v * ui.scale * ui.settings.font_scale; }

/// A font for the lifetime of the object; null keeps the present one. `factor` scales its size.
class FontScope {
 public:
  explicit FontScope(ImFont* font, float factor = 1.0F);
  ~FontScope() { ImGui::PopFont(); }
  FontScope(const FontScope&) = delete;
  FontScope& operator=(const FontScope&) = delete;
};

/// A title in capitals, small and bold. Stays on its line: SameLine() may follow.
void section_title(const Ui& ui, std::string_view text);

/// A quiet remark after a section title, on its line and base line.
void subtitle(const Ui& ui, std::string_view text);

/// Text in a colour; `mono` text aligns in columns.
void text(ImU32 color, std::string_view value);
void mono(const Ui& ui, ImU32 color, std::string_view value);
/// The same, ending at `right` (window x) instead of starting at the cursor.
void mono_right(const Ui& ui, ImU32 color, std::string_view value, float right);

/// `value` as it is, or shortened with an ellipsis to `width` pixels of the present font.
std::string fitted(std::string_view value, float width);
/// Text on one line, shortened with an ellipsis to `width` pixels; hovering then shows all of it.
void text_elided(ImU32 color, std::string_view value, float width);

/// Window x of the right end of the content region.
inline float right_edge() { return ImGui::GetCursorPosX() + ImGui::GetContentRegionAvail().x; }

/// Shows `value` when the last item is hovered for a moment.
void tip(std::string_view value);

enum class Look : std::uint8_t {
  kPlain,    ///< a quiet card
  kOn,       ///< a chosen toggle
  kPrimary,  ///< the main action
  kLink,     ///< accent text without a card
  kWarn,     ///< takes something unusual back
};

/// A button registered under `id`, with an optional tooltip.
bool button(Ui& ui, std::string_view id, std::string_view label, Look look = Look::kPlain,
            std::string_view help = {}, bool enabled = true);
ImVec2 button_size(const Ui& ui, std::string_view label);

/// A read-only chip with a border in `color` (0: the border's role).
void chip(Ui& ui, std::string_view id, std::string_view label, ImU32 color = 0,
          std::string_view help = {});

/// Text in the middle of the remaining region: what is missing, and below it what would fill it.
/// The registered id "<where>/empty" lets scripts see it.
void empty_state(Ui& ui, std::string_view where, std::string_view title, std::string_view hint);

/// The same for what a run would fill: a file that can only be listed says so instead.
void empty_until_run(Ui& ui, std::string_view where, std::string_view title, std::string_view hint);

/// The colour map of the settings.
ColorMap chosen_map(const Ui& ui);

/// The texture of `data`, ColorMap::kChosen resolved; 0 without renderer.
TextureHandle heatmap_texture(Ui& ui, std::string_view key, HeatmapData data);

/// Draws the used corner (`uv_max`) of a heatmap into a rectangle; a flat rectangle without
/// renderer.
void heatmap(Ui& ui, std::string_view key, const HeatmapData& data, ImVec2 min, ImVec2 max,
             ImVec2 uv_max = {1.0F, 1.0F});

/// A horizontal colour bar with its range in numbers below: `lo`, a note in the middle, `hi`. Where
/// the map is the chosen one, a click chooses the next.
void color_bar(Ui& ui, std::string_view key, const HeatmapData& of, float width,
               std::string_view note);

/// A combo registered under `id`: small, quiet, "label: item ▾". True when `index` changed.
bool combo(Ui& ui, std::string_view id, std::string_view label, int& index,
           const char* const* items, int n_items);

/// A search field with an icon-less hint, registered under `id`; true when it changed.
bool search_field(Ui& ui, std::string_view id, std::string& value, const char* hint, float width);

/// One row of a two-column list inside a tooltip or card.
void fact(const Ui& ui, std::string_view name, std::string_view value);

/// Its file is shown, but nothing here can run it.
bool is_only_listed(const Ui& ui);

/// ImGui::BeginPopup that Escape closes, also where keyboard navigation is off.
bool begin_popup(const char* name);

const tokenizer::Tokenizer* tokenizer_of(const Ui& ui);
/// `33 " shimmers"`
std::string token_label(const Ui& ui, int position);

}  // namespace layerscope::gui

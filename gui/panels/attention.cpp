// Attention panel: overview of all heads, the selected head in detail, and where the selected token
// looks, as shading under the text. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "gui/panels/actions.h"
#include "gui/panels/attention_detail.h"
#include "gui/panels/attention_overview.h"
#include "gui/panels/panels.h"
#include "gui/panels/welcome.h"
#include "gui/panels/widgets.h"
#include "gui/view/frames.h"
#include "gui/view/history_text.h"
#include "gui/view/text.h"
#include "gui/view/token_layout.h"

namespace layerscope::gui {
namespace {

/// A chip in the accent's colour, as opaque as the texel of key `k` says.
void shaded_chip(const Ui& ui, TextureHandle shades, int k, ImVec2 min, ImVec2 max) {
  const backend::DrawGrid& grid = ui.drawn->frame.row;
  const int column = k % grid.width;
  const int line = k / grid.width;
  const ImVec2 at{(static_cast<float>(column) + 0.5F) / static_cast<float>(grid.width),
                  (static_cast<float>(line) + 0.5F) / static_cast<float>(grid.height)};
  ImGui::GetWindowDrawList()->AddImageRounded(ImTextureRef(static_cast<ImTextureID>(shades)), min,
                                              max, at, at, colors(ui).accent, px(ui, 3.0F));
}

class AttentionPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "attention"; }
  [[nodiscard]] const char* title() const override { return "Attention"; }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  void header(Ui& ui, bool detail_only);
  static float toggles(Ui& ui, bool measure);
  void overview(Ui& ui, ImVec2 room);
  void looks(Ui& ui);
  static TextureHandle row_shades(Ui& ui, int shown);
  void shaded_text(Ui& ui, int shown, std::span<const float> row, TextureHandle shades = 0);

  AttentionOverview overview_;
  AttentionDetail detail_;
  view::TokenLayout layout_;
};

/// The three toggles, or only their width.
float AttentionPanel::toggles(Ui& ui, bool measure) {
  const float gap = px(ui, 4.0F);
  if (measure) {
    return button_size(ui, "probability").x + button_size(ui, "score").x +
           button_size(ui, "log").x + 2.0F * gap;
  }
  bool& scores = ui.settings.show_scores;
  if (button(ui, "attention/toggle/probability", "probability", scores ? Look::kPlain : Look::kOn,
             "Colour by probability, after soft-max")) {
    scores = false;
  }
  ImGui::SameLine(0.0F, gap);
  if (button(ui, "attention/toggle/score", "score", scores ? Look::kOn : Look::kPlain,
             "Colour by score: ln(probability) + log Σ exp of the row, as before soft-max")) {
    scores = true;
  }
  ImGui::SameLine(0.0F, gap);
  if (button(ui, "attention/toggle/log", "log",
             ui.settings.log_attention && !scores ? Look::kOn : Look::kPlain,
             "Logarithmic colour scale for probabilities", !scores)) {
    ui.settings.log_attention = !ui.settings.log_attention;
  }
  return 0.0F;
}

void AttentionPanel::header(Ui& ui, bool detail_only) {
  const Palette& c = colors(ui);
  section_title(ui, "Attention");
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  if (button(ui, "attention/back", "all layers", Look::kLink,
             detail_only ? "Back to the overview" : "Show or hide the map  ·  Enter")) {
    ui.selection.head_open = !ui.selection.head_open;
  }
  const float right = right_edge();
  const float buttons = toggles(ui, true);
  if (ui.selection.head_open) {
    ImGui::SameLine(0.0F, px(ui, 6.0F));
    ImGui::AlignTextToFramePadding();
    text(c.quiet, fmt::format("▸ layer {} ▸", ui.selection.layer));
    ImGui::SameLine(0.0F, px(ui, 5.0F));
    text(c.text, fmt::format("head {}", ui.selection.head));
  }
  const int shown = ui.shown_position();
  if (shown >= 0) {
    ImGui::SameLine(0.0F, px(ui, 6.0F));
    const std::string query = fmt::format(
        "· query {}",
        view::cut_text(view::quoted_token(tokenizer_of(ui), view::token_id(*ui.snapshot, shown)),
                       20));
    if (ImGui::GetCursorPosX() + ImGui::CalcTextSize(query.c_str()).x + buttons < right) {
      ImGui::AlignTextToFramePadding();
      text(c.quiet, query);
      ImGui::SameLine(0.0F, 0.0F);
    }
  }
  if (ui.selection.head_open && ImGui::GetCursorPosX() + buttons <= right) {
    ImGui::SameLine(right - buttons);
    toggles(ui, false);
  } else if (ui.selection.head_open) {
    ImGui::NewLine();
    toggles(ui, false);
  } else {
    ImGui::NewLine();
  }
}

void AttentionPanel::looks(Ui& ui) {
  const Palette& c = colors(ui);
  int shown = ui.shown_position();
  if (ui.selection.position < 0 && ui.snapshot->draws && ui.drawn != nullptr && is_busy(ui) &&
      !ui.drawn->frame.row.empty()) {
    shown = ui.drawn->frame.row_position;  // the newest whose row can be seen
  }
  const std::string token =
      view::quoted_token(tokenizer_of(ui), view::token_id(*ui.snapshot, shown));
  section_title(ui, "Where");
  subtitle(ui, view::cut_text(token, 24));
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  section_title(ui, "looks");
  const std::string where =
      fmt::format("· layer {} · head {}", ui.selection.layer, ui.selection.head);
  ImGui::SameLine(0.0F, 0.0F);
  const bool fits = ImGui::CalcTextSize(where.c_str()).x < ImGui::GetContentRegionAvail().x;
  subtitle(ui, fits ? where : std::string());
  const auto row = view::attention_row(*ui.snapshot, shown, ui.selection.layer, ui.selection.head);
  const TextureHandle shades = row.empty() ? row_shades(ui, shown) : 0;
  if (!ImGui::BeginChild("looks")) {
    ImGui::EndChild();
    return;
  }
  if (shades != 0) {
    shaded_text(ui, shown, row, shades);
  } else if (row.empty() && ui.snapshot->draws) {
    text(c.quiet, "…");
  } else if (row.empty()) {
    const auto& recording = ui.snapshot->recording;
    const bool missing = recording != nullptr && !recording->attention.empty();
    const std::string dropped = view::dropped_rows(*ui.snapshot, shown);
    const std::string why = missing           ? recording->attention
                            : dropped.empty() ? "This row was not captured."
                                              : dropped;
    ImGui::PushTextWrapPos();
    text(c.quiet, why);
    ImGui::PopTextWrapPos();
    ui.widgets.state("attention/missing", missing ? recording->attention : dropped);
  } else {
    shaded_text(ui, shown, row);
  }
  ImGui::EndChild();
}

/// The row where it is not on the host: one texel per key in the engine's picture. While nothing
/// runs the exact row is asked for as well, for its values.
TextureHandle AttentionPanel::row_shades(Ui& ui, int shown) {
  if (!ui.snapshot->draws || ui.heatmaps == nullptr || shown < 0) {
    return 0;
  }
  ui.look.row_layer = ui.selection.layer;
  ui.look.row_head = ui.selection.head;
  ui.look.row_position = ui.selection.position < 0 ? -1 : shown;
  if (!is_busy(ui)) {
    ask_attention(ui, {0, ui.selection.layer, ui.selection.head, shown, 1, 0, shown + 1});
  }
  const view::Drawn* drawn = ui.drawn;
  if (drawn == nullptr || drawn->frame.row.empty() ||
      drawn->frame.row_layer != ui.selection.layer || drawn->frame.row_head != ui.selection.head ||
      drawn->frame.row_position != shown) {
    return 0;
  }
  HeatmapData data = drawn->cells(drawn->frame.row);
  const capture::HeadStats* stats =
      view::head_stats(ui.snapshot->frame(shown), ui.selection.layer, ui.selection.head);
  data.hi = stats != nullptr && stats->max > 0.0F ? stats->max : 1.0F;
  data.color_map = ColorMap::kShade;
  return ui.heatmaps->texture("attention/looks", data);
}

void AttentionPanel::shaded_text(Ui& ui, int shown, std::span<const float> row,
                                 TextureHandle shades) {
  const Palette& c = colors(ui);
  float largest = 0.0F;
  for (const float p : row) {
    largest = std::isfinite(p) ? std::max(largest, p) : largest;
  }
  const FontScope font(ui.fonts.mono);
  const float chip_height = ImGui::GetTextLineHeight() + px(ui, 5.0F);
  const float line_height = chip_height + px(ui, 3.0F);
  const float width = std::max(ImGui::GetContentRegionAvail().x - px(ui, 10.0F), px(ui, 40.0F));
  layout_.update(*ui.snapshot, tokenizer_of(ui), {width, px(ui, 6.0F), px(ui, 0.0F), px(ui, 2.0F)},
                 [](const std::string& value) { return ImGui::CalcTextSize(value.c_str()).x; });
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  const int lines = layout_.place(shown).line + 1;
  ImGui::InvisibleButton("text", {width, std::max(static_cast<float>(lines) * line_height, 1.0F)});
  ui.widgets.mark("attention/looks");
  const bool hovered = ImGui::IsItemHovered();
  const bool clicked = ImGui::IsItemClicked();
  const ImVec2 mouse = ImGui::GetIO().MousePos;
  const float top = ImGui::GetWindowPos().y - origin.y;
  const int first = std::clamp(static_cast<int>(top / line_height), 0, lines);
  const int last =
      std::min(static_cast<int>((top + ImGui::GetWindowHeight()) / line_height) + 1, lines);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const int end = std::min(layout_.line_first(last), shown + 1);
  for (int k = layout_.line_first(first); k < end; ++k) {
    const view::ChipPlace& place = layout_.place(k);
    const ImVec2 min{origin.x + place.x, origin.y + static_cast<float>(place.line) * line_height};
    const ImVec2 max{min.x + place.width, min.y + chip_height};
    if (shades != 0) {
      shaded_chip(ui, shades, k, min, max);
      draw->AddText({min.x + px(ui, 2.0F), min.y + px(ui, 2.5F)}, c.text,
                    layout_.text(k).text.c_str());
      continue;
    }
    const float p = row[static_cast<std::size_t>(k)];
    const float strength = largest > 0.0F && p > 0.0F ? std::sqrt(p / largest) : 0.0F;
    ImU32 ink = mix(c.quiet, c.text, strength);
    if (!std::isfinite(p)) {
      draw->AddRectFilled(min, max, mix(c.panel, c.error, 0.5F), px(ui, 3.0F));
    } else if (strength > 0.05F) {
      draw->AddRectFilled(min, max, mix(c.panel, c.accent, 0.62F * strength), px(ui, 3.0F));
      ink = mix(ink, ui.settings.dark ? IM_COL32_WHITE : IM_COL32_BLACK, strength * 0.8F);
    }
    if (k == ui.selection.key_position) {
      draw->AddRect(min, max, c.accent, px(ui, 3.0F));
    }
    draw->AddText({min.x + px(ui, 2.0F), min.y + px(ui, 2.5F)}, ink, layout_.text(k).text.c_str());
    if (hovered && mouse.x >= min.x && mouse.x < max.x && mouse.y >= min.y && mouse.y < max.y) {
      if (clicked) {
        ui.selection.key_position = k;
      }
      if (ImGui::BeginTooltip()) {
        text(c.text, token_label(ui, k));
        fact(ui, "probability", fmt::format("{:.6f}", p));
        ImGui::EndTooltip();
      }
    }
  }
}

void AttentionPanel::overview(Ui& ui, ImVec2 room) {
  const Palette& c = colors(ui);
  const float caption = ImGui::GetTextLineHeightWithSpacing();
  const bool with_looks = room.y > px(ui, 300.0F);
  const float most = with_looks ? room.y * 0.66F : room.y - caption;
  const float height = std::min(overview_.wanted_height(ui, {room.x, room.y}), most) + px(ui, 1.0F);
  overview_.draw(ui, {room.x, height});
  {
    const FontScope small(nullptr, 0.86F);
    text(c.quiet, "layers ↓ · heads → · shade √p, 0 … 1");
    tip("Each thumbnail is one head's map, queries downwards, keys to the right. A cell shows the "
        "square root of the largest probability of the tokens that it covers. A red dot marks a "
        "head whose selected row does not sum to 1. A circle, triangle or ring with a sign marks "
        "an error, a warning or a note of the checks: hover it, or see the Findings tab.");
  }
  if (with_looks) {
    ImGui::Dummy({0.0F, px(ui, 2.0F)});
    looks(ui);
  }
}

/// The shown token's row of every head of the selected layer.
std::string AttentionPanel::csv(const Ui& ui) const {
  const session::Snapshot& s = *ui.snapshot;
  const int position = ui.shown_position();
  if (s.model == nullptr || position < 0) {
    return {};
  }
  std::string all = "position,layer,head,key,probability\n";
  bool any = false;
  for (int head = 0; head < s.model->n_heads; ++head) {
    const auto row = view::attention_row(s, position, ui.selection.layer, head);
    any = any || !row.empty();
    for (std::size_t key = 0; key < row.size(); ++key) {
      all += fmt::format("{},{},{},{},{:.9g}\n", position, ui.selection.layer, head, key, row[key]);
    }
  }
  return any ? all : std::string();
}

void AttentionPanel::draw(Ui& ui) {
  const session::Snapshot& s = *ui.snapshot;
  ui.widgets.state("selection/layer", fmt::format("{}", ui.selection.layer));
  ui.widgets.state("selection/head", fmt::format("{}", ui.selection.head));
  if (s.model == nullptr || s.n_frames == 0) {
    if (s.model == nullptr) {
      draw_welcome(ui);
    } else {
      section_title(ui, "Attention");
      empty_until_run(ui, "attention",
                      s.state == session::State::kEvaluating ? "Evaluating the prompt…"
                                                             : "No token evaluated yet",
                      "Step (F10) evaluates the prompt and generates one token; Run (F5) goes on. "
                      "Every layer and head then shows here.");
    }
    return;
  }
  ui.selection.layer = std::clamp(ui.selection.layer, 0, std::max(s.model->n_layers - 1, 0));
  ui.selection.head = std::clamp(ui.selection.head, 0, std::max(s.model->n_heads - 1, 0));
  // The map is square: what it cannot use is given to the overview.
  const float gap = px(ui, 22.0F);
  const ImVec2 all = ImGui::GetContentRegionAvail();
  const float height = all.y - ImGui::GetFrameHeightWithSpacing();
  const float detail = std::min(AttentionDetail::wanted_width(ui, height), all.x * 0.60F);
  const float left = all.x - detail - gap;
  const bool narrow = left < px(ui, 170.0F);
  header(ui, narrow);
  const ImVec2 room = ImGui::GetContentRegionAvail();
  if (!ui.selection.head_open) {
    overview(ui, room);
    return;
  }
  if (narrow) {
    detail_.draw(ui, room);
    return;
  }
  if (ImGui::BeginChild("left", {left, room.y})) {
    overview(ui, {left, room.y});
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("right", {detail, room.y}, 0,
                        ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse)) {
    detail_.draw(ui, ImGui::GetContentRegionAvail());
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_attention() { return std::make_unique<AttentionPanel>(); }

}  // namespace layerscope::gui

#include "gui/panels/attention_overview.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "gui/panels/diagnosis.h"
#include "gui/panels/widgets.h"
#include "gui/view/head_table.h"
#include "gui/view/text.h"

namespace layerscope::gui {

AttentionOverview::Cell AttentionOverview::cell_size(const Ui& ui, ImVec2 room) const {
  const session::ModelInfo* model = ui.snapshot->model.get();
  const auto heads = static_cast<float>(std::max(model != nullptr ? model->n_heads : 1, 1));
  const auto layers = static_cast<float>(std::max(model != nullptr ? model->n_layers : 1, 1));
  Cell cell{};
  cell.gap = heads > 20 ? px(ui, 2.0F) : px(ui, 4.0F);
  cell.margin_x = ImGui::CalcTextSize("00").x + px(ui, 6.0F);
  cell.margin_y = ImGui::GetTextLineHeight() + px(ui, 1.0F);
  const float wide = (room.x - cell.margin_x) / heads - cell.gap;
  const float high = (room.y - cell.margin_y) / layers - cell.gap;
  // Below that a thumbnail says nothing: the grid scrolls instead.
  cell.size = std::clamp(std::min(wide, high), px(ui, 14.0F), px(ui, 128.0F));
  cell.size = std::floor(std::min(cell.size, std::max(wide, px(ui, 8.0F))));
  return cell;
}

float AttentionOverview::wanted_height(const Ui& ui, ImVec2 room) const {
  const FontScope font(ui.fonts.mono, 0.8F);
  const Cell cell = cell_size(ui, {room.x, 1e9F});
  const int layers = ui.snapshot->model != nullptr ? ui.snapshot->model->n_layers : 1;
  return cell.margin_y + static_cast<float>(layers) * (cell.size + cell.gap) + px(ui, 2.0F);
}

void AttentionOverview::hover(Ui& ui, int layer, int head) {
  if (!ImGui::BeginTooltip()) {
    return;
  }
  text(colors(ui).text, fmt::format("layer {} · head {}", layer, head));
  if (const capture::HeadStats* stats = view::head_stats(ui.shown_frame(), layer, head)) {
    text(colors(ui).quiet, fmt::format("query {}", token_label(ui, ui.shown_position())));
    fact(ui, "row sum", fmt::format("{:.4f}", stats->row_sum));
    fact(ui, "entropy", fmt::format("{} nat", view::number_text(double{stats->entropy})));
    fact(ui, "maximum", fmt::format("{:.4f} at {}", stats->max, stats->argmax));
    fact(ui, "first token", fmt::format("{:.4f}", stats->first));
    fact(ui, "itself", fmt::format("{:.4f}", stats->self));
  }
  badge_line(ui, ui.badges.head(layer, head));
  ImGui::EndTooltip();
}

void AttentionOverview::thumbnail(Ui& ui, int layer, int head, ImVec2 min, float size,
                                  TextureHandle texture) const {
  const Palette& c = colors(ui);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const ImVec2 max{min.x + size, min.y + size};
  draw->AddRectFilled(min, max, c.plot);
  if (texture != 0) {
    const auto heads = static_cast<float>(atlas_.heads);
    const auto layers = static_cast<float>(atlas_.layers);
    const float part =
        static_cast<float>(std::max(atlas_.used, 1)) / static_cast<float>(atlas_.side);
    const ImVec2 uv{static_cast<float>(head) / heads, static_cast<float>(layer) / layers};
    draw->AddImage(ImTextureRef(static_cast<ImTextureID>(texture)), min, max, uv,
                   {uv.x + part / heads, uv.y + part / layers});
  }
  const capture::HeadStats* stats = view::head_stats(ui.shown_frame(), layer, head);
  const float radius = std::clamp(size * 0.16F, px(ui, 2.5F), px(ui, 7.0F));
  if (const view::Badge* badge = ui.badges.head(layer, head)) {
    draw_badge(ui, fmt::format("attention/badge/layer {}/head {}", layer, head),
               {max.x - radius * 1.3F, min.y + radius * 1.3F}, radius, badge->severity);
  } else if (stats != nullptr && ui.side() != session::Side::kDifference &&
             view::row_sum_off(*stats, ui.shown_position() + 1)) {
    draw->AddCircleFilled({max.x - radius * 1.3F, min.y + radius * 1.3F}, radius * 0.7F, c.error);
  }
  if (layer == ui.selection.layer && head == ui.selection.head) {
    draw->AddRect({min.x - 1.0F, min.y - 1.0F}, {max.x + 1.0F, max.y + 1.0F}, c.accent, 0.0F, 0,
                  px(ui, 2.0F));
  }
  ui.widgets.mark_rect(fmt::format("attention/layer {}/head {}", layer, head), min, max);
}

/// The row's number with a mark: beside the row there is room for both only one above the other.
void AttentionOverview::layer_badge(Ui& ui, const view::Badge& badge, int layer, ImVec2 at,
                                    ImVec2 room, bool hovered) {
  const std::string digits = fmt::format("{}", layer);
  const ImVec2 extent = ImGui::CalcTextSize(digits.c_str());
  const ImU32 color = severity_color(ui, badge.severity);
  const float radius = std::min(px(ui, 5.5F), room.x * 0.4F);
  const float middle = at.x + room.x / 2.0F;
  const bool both = room.y >= extent.y + 2.0F * radius + px(ui, 3.0F);
  const float block = both ? extent.y + 2.0F * radius + px(ui, 2.0F) : extent.y;
  float y = at.y + (room.y - block) / 2.0F;
  ImGui::GetWindowDrawList()->AddText({middle - extent.x / 2.0F, y}, color, digits.c_str());
  const std::string id = fmt::format("attention/badge/layer {}", layer);
  if (both) {
    y += extent.y + px(ui, 2.0F) + radius;
    draw_badge(ui, id, {middle, y}, radius, badge.severity);
  } else {
    ui.widgets.mark_rect(id, at, {at.x + room.x, at.y + room.y});
  }
  const ImVec2 mouse = ImGui::GetIO().MousePos;
  if (hovered && mouse.x >= at.x && mouse.x < at.x + room.x && mouse.y >= at.y &&
      mouse.y < at.y + room.y) {
    const FontScope font(ui.fonts.regular);
    if (ImGui::BeginTooltip()) {
      text(colors(ui).text, fmt::format("layer {}", layer));
      badge_line(ui, &badge);
      ImGui::EndTooltip();
    }
  }
}

void AttentionOverview::grid(Ui& ui) {
  const Palette& c = colors(ui);
  const int layers = atlas_.layers;
  const int heads = atlas_.heads;
  int over_layer = -1;
  int over_head = -1;
  bool clicked = false;
  {
    const FontScope font(ui.fonts.mono, 0.8F);
    const Cell cell = cell_size(ui, ImGui::GetContentRegionAvail());
    const TextureHandle texture = heatmap_texture(
        ui, ui.snapshot->draws ? "attention/drawn" : "attention/overview", atlas_.data);
    const ImVec2 origin = ImGui::GetCursorScreenPos();
    const float pitch = cell.size + cell.gap;
    ImGui::InvisibleButton("grid", {cell.margin_x + static_cast<float>(heads) * pitch,
                                    cell.margin_y + static_cast<float>(layers) * pitch});
    const bool hovered = ImGui::IsItemHovered();
    clicked = ImGui::IsItemClicked();
    const ImVec2 mouse = ImGui::GetIO().MousePos;
    const auto label = [&](float x, float y, float width, int number) {
      const std::string digits = fmt::format("{}", number);
      const float shift = (width - ImGui::CalcTextSize(digits.c_str()).x) / 2.0F;
      ImGui::GetWindowDrawList()->AddText({x + shift, y}, c.faint, digits.c_str());
    };
    const bool every_column = ImGui::CalcTextSize("00").x < pitch;
    for (int head = 0; head < heads; ++head) {
      if (every_column || head % 4 == 0) {
        label(origin.x + cell.margin_x + static_cast<float>(head) * pitch, origin.y, cell.size,
              head);
      }
    }
    for (int layer = 0; layer < layers; ++layer) {
      const float y = origin.y + cell.margin_y + static_cast<float>(layer) * pitch;
      if (!ImGui::IsRectVisible({origin.x, y}, {origin.x + pitch, y + cell.size})) {
        continue;
      }
      const float margin = cell.margin_x - px(ui, 6.0F);
      if (const view::Badge* badge = ui.badges.layer(layer)) {
        layer_badge(ui, *badge, layer, {origin.x, y}, {margin, cell.size}, hovered);
      } else {
        label(origin.x, y + (cell.size - ImGui::GetTextLineHeight()) / 2.0F, margin, layer);
      }
      for (int head = 0; head < heads; ++head) {
        const ImVec2 min{origin.x + cell.margin_x + static_cast<float>(head) * pitch, y};
        thumbnail(ui, layer, head, min, cell.size, texture);
        if (hovered && mouse.x >= min.x && mouse.x < min.x + cell.size && mouse.y >= min.y &&
            mouse.y < min.y + cell.size) {
          over_layer = layer;
          over_head = head;
          ImGui::GetWindowDrawList()->AddRect(min, {min.x + cell.size, min.y + cell.size}, c.text);
        }
      }
    }
  }
  if (over_layer >= 0) {
    if (clicked) {
      ui.selection.layer = over_layer;
      ui.selection.head = over_head;
      ui.selection.head_open = true;
    }
    hover(ui, over_layer, over_head);
  }
}

/// From the engine's picture, or from the rows that came with the frames.
void AttentionOverview::update(Ui& ui) {
  ui.look.thumbnails = ui.snapshot->draws;
  if (!ui.snapshot->draws) {
    if (!thumbnails_.update(*ui.snapshot)) {
      ui.requests.redraw = ui.requests.partial = true;
    }
    atlas_ = {thumbnails_.data(), thumbnails_.n_layers(), thumbnails_.n_heads(), thumbnails_.side(),
              thumbnails_.used()};
    return;
  }
  const session::ModelInfo* model = ui.snapshot->model.get();
  atlas_ = {};
  atlas_.layers = model != nullptr ? model->n_layers : 0;
  atlas_.heads = model != nullptr ? model->n_heads : 0;
  if (ui.drawn != nullptr && !ui.drawn->frame.thumbnails.empty()) {
    const backend::DrawnFrame& frame = ui.drawn->frame;
    atlas_.data = ui.drawn->cells(frame.thumbnails);
    atlas_.side = frame.side;
    atlas_.used = (frame.n_tokens + frame.bin - 1) / frame.bin;
  }
}

void AttentionOverview::draw(Ui& ui, ImVec2 room) {
  update(ui);
  if (ImGui::BeginChild("overview", room, ImGuiChildFlags_None) && atlas_.layers > 0 &&
      atlas_.heads > 0) {
    grid(ui);
  }
  ImGui::EndChild();
}

}  // namespace layerscope::gui

#include "gui/panels/tensor_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "gui/panels/widgets.h"
#include "gui/view/pooling.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

/// Values that one pixel may cover and still be searched at once for the one that it shows.
constexpr std::uint64_t kSearchable = 1U << 16U;
/// The fraction that auto-fit cuts off either end.
constexpr double kCut = 0.001;

float fraction(double at, double from, double extent) {
  return extent > 0.0 ? static_cast<float>((at - from) / extent) : 0.0F;
}

}  // namespace

std::int64_t cell_at(const view::TensorSource& source, const view::MapView& view, float x,
                     float y) {
  if (x < 0.0F || y < 0.0F || x >= 1.0F || y >= 1.0F) {
    return -1;
  }
  const auto row = static_cast<std::int64_t>(view.row + view.rows * static_cast<double>(y));
  const auto col = static_cast<std::int64_t>(view.col + view.cols * static_cast<double>(x));
  const auto rows = static_cast<std::int64_t>(source.rows);
  const auto cols = static_cast<std::int64_t>(source.cols);
  return row < 0 || col < 0 || row >= rows || col >= cols ? -1 : row * cols + col;
}

void TensorMap::find_range(const view::ValueMap& map, const view::TensorScan* scan,
                           const TensorLook& look, bool symmetric) {
  if (look.mode == RangeMode::kManual && !symmetric) {
    lo_ = look.lo;
    hi_ = look.hi;
    range_mode_ = look.mode;
    return;
  }
  const bool full = look.mode == RangeMode::kFull && scan != nullptr && scan->statistics_ready();
  if (range_version_ == map.version && range_mode_ == look.mode && !full) {
    return;
  }
  range_version_ = map.version;
  range_mode_ = look.mode;
  if (full && !symmetric) {
    lo_ = scan->min;
    hi_ = scan->max;
  } else {
    const view::Range range = view::robust_range(map.values, full ? 0.0 : kCut, full ? 0.0 : kCut);
    lo_ = range.lo;
    hi_ = range.hi;
  }
  if (lo_ < 0.0F && hi_ > 0.0F) {  // signed: the middle of the colours is zero
    const float most = std::max(-lo_, hi_);
    lo_ = -most;
    hi_ = most;
  }
  if (!(hi_ > lo_)) {
    const float margin = std::max(std::fabs(lo_) * 0.5F, 1e-6F);
    lo_ -= margin;
    hi_ += margin;
  }
}

void TensorMap::input(const view::TensorSource& source, TensorLook& look, const Place& at,
                      bool hovered) {
  const ImGuiIO& io = ImGui::GetIO();
  const float x = (io.MousePos.x - at.min.x) / std::max(at.size.x, 1.0F);
  const float y = (io.MousePos.y - at.min.y) / std::max(at.size.y, 1.0F);
  if (ImGui::IsItemActive() && ImGui::IsMouseDragging(ImGuiMouseButton_Left, 3.0F)) {
    const double cells_x = look.view.cols / static_cast<double>(std::max(at.size.x, 1.0F));
    const double cells_y = look.view.rows / static_cast<double>(std::max(at.size.y, 1.0F));
    look.view =
        view::pan_view(look.view, -static_cast<double>(io.MouseDelta.y) * cells_y,
                       -static_cast<double>(io.MouseDelta.x) * cells_x, source.rows, source.cols);
    look.fitted = false;
  }
  if (!hovered) {
    return;
  }
  if (io.MouseWheel != 0.0F) {
    look.view =
        view::zoom_view(look.view, std::pow(1.35, static_cast<double>(io.MouseWheel)),
                        static_cast<double>(x), static_cast<double>(y), source.rows, source.cols);
    look.fitted = false;
  }
  look.hovered = cell_at(source, look.view, x, y);
  if (ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left)) {
    look.view = view::fit_view(source.rows, source.cols);
    look.fitted = true;
  }
}

void TensorMap::image(Ui& ui, const std::string& id, const view::ValueMap& map,
                      const TensorLook& look, const Place& at) {
  if (map.width == 0 || map.height == 0) {
    return;
  }
  HeatmapData data;
  data.width = map.width;
  data.height = map.height;
  data.values = map.values;
  data.version = map.version;
  data.lo = lo_;
  data.hi = hi_;
  const bool is_signed = lo_ < 0.0F && hi_ > 0.0F;
  data.color_map = is_signed ? ColorMap::kDiverging : ColorMap::kChosen;
  data.overlay = static_cast<Overlay>(std::clamp(look.overlay, 0, 3));
  // The map may be of an older view: it is drawn where its cells are now.
  const view::MapRequest& r = map.request;
  const auto place = [&](double row, double col) {
    return ImVec2{at.min.x + at.size.x * fraction(col, look.view.col, look.view.cols),
                  at.min.y + at.size.y * fraction(row, look.view.row, look.view.rows)};
  };
  heatmap(ui, id, data, place(static_cast<double>(r.row), static_cast<double>(r.col)),
          place(static_cast<double>(r.row + r.rows), static_cast<double>(r.col + r.cols)));
}

void TensorMap::numbers(Ui& ui, const view::TensorSource& source, const TensorLook& look,
                        const Place& at) {
  const float cell_w = at.size.x / static_cast<float>(look.view.cols);
  const float cell_h = at.size.y / static_cast<float>(look.view.rows);
  const FontScope font(ui.fonts.mono, 0.8F);
  if (!look.cells || cell_w < ImGui::CalcTextSize("-0.0000").x + px(ui, 6.0F) ||
      cell_h < ImGui::GetTextLineHeight()) {
    return;
  }
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const auto first_row = static_cast<std::uint64_t>(look.view.row);
  const auto last_row =
      std::min(source.rows, static_cast<std::uint64_t>(look.view.row + look.view.rows) + 1);
  const auto first_col = static_cast<std::uint64_t>(look.view.col);
  const auto last_col =
      std::min(source.cols, static_cast<std::uint64_t>(look.view.col + look.view.cols) + 1);
  for (std::uint64_t row = first_row; row < last_row; ++row) {
    const auto values = source.read(row * source.cols + first_col, last_col - first_col);
    if (!values.ok()) {
      return;
    }
    for (std::uint64_t col = first_col; col < last_col; ++col) {
      const float value = values.value()[col - first_col];
      const std::string words = view::number_text(double{value});
      const ImVec2 size = ImGui::CalcTextSize(words.c_str());
      const float x =
          at.min.x + cell_w * static_cast<float>(static_cast<double>(col) + 0.5 - look.view.col);
      const float y =
          at.min.y + cell_h * static_cast<float>(static_cast<double>(row) + 0.5 - look.view.row);
      if (x - size.x / 2.0F < at.min.x || x + size.x / 2.0F > at.min.x + at.size.x ||
          y - size.y / 2.0F < at.min.y || y + size.y / 2.0F > at.min.y + at.size.y) {
        continue;  // a cell that is partly out of view: half a number is worse than none
      }
      // Dark on the light middle of the diverging map, light on its dark ends.
      const float t = (value - lo_) / (hi_ - lo_);
      const bool light_cell = lo_ < 0.0F && t > 0.22F && t < 0.78F && look.overlay == 0;
      draw->AddText({x - size.x / 2.0F, y - size.y / 2.0F},
                    light_cell ? IM_COL32(20, 24, 30, 255) : kMapInk, words.c_str());
    }
  }
}

void TensorMap::marks(Ui& ui, const view::TensorSource& source, const TensorLook& look,
                      const Place& at) {
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const auto box = [&](std::int64_t flat, ImU32 color, float thickness) {
    if (flat < 0 || source.cols == 0 || static_cast<std::uint64_t>(flat) >= source.count) {
      return;
    }
    const std::uint64_t row_index = static_cast<std::uint64_t>(flat) / source.cols;
    const auto row = static_cast<double>(row_index);
    const double col = static_cast<double>(static_cast<std::uint64_t>(flat) % source.cols);
    const float x0 = at.min.x + at.size.x * fraction(col, look.view.col, look.view.cols);
    const float y0 = at.min.y + at.size.y * fraction(row, look.view.row, look.view.rows);
    const float least = px(ui, 5.0F);
    const float w = std::max(at.size.x / static_cast<float>(look.view.cols), least);
    const float h = std::max(at.size.y / static_cast<float>(look.view.rows), least);
    draw->AddRect({x0 - 1.0F, y0 - 1.0F}, {x0 + w + 1.0F, y0 + h + 1.0F}, IM_COL32(0, 0, 0, 160),
                  0.0F, 0, thickness + 2.0F);
    draw->AddRect({x0, y0}, {x0 + w, y0 + h}, color, 0.0F, 0, thickness);
  };
  box(look.hovered, kMapInk, 1.0F);
  box(look.picked, kMapAccent, px(ui, 2.0F));
}

void TensorMap::tooltip(Ui& ui, const view::TensorSource& source, const view::ValueMap* map,
                        const TensorLook& look, const Place& at) {
  const FontScope font(ui.fonts.regular);
  if (look.hovered < 0 || !ImGui::BeginTooltip()) {
    return;
  }
  const auto flat = static_cast<std::uint64_t>(look.hovered);
  text(colors(ui).text, source.name);
  fact(ui, "index", view::index_text(source.shape, flat));
  if (const auto value = source.read(flat, 1); value.ok() && !value.value().empty()) {
    fact(ui, "value", fmt::format("{:.9g}", value.value().front()));
  }
  if (map != nullptr && map->width > 0 && map->request.cols > 0) {
    const double per_x = static_cast<double>(map->request.cols) / map->width;
    const double per_y = static_cast<double>(map->request.rows) / map->height;
    if (per_x * per_y > 1.01) {
      const float x = (ImGui::GetIO().MousePos.x - at.min.x) / at.size.x;
      const float y = (ImGui::GetIO().MousePos.y - at.min.y) / at.size.y;
      const auto pixel = [](double cell, std::uint64_t first, std::uint64_t n, int pixels) {
        const double t = (cell - static_cast<double>(first)) / static_cast<double>(n);
        return std::clamp(static_cast<int>(t * pixels), 0, pixels - 1);
      };
      const int px_x = pixel(look.view.col + look.view.cols * static_cast<double>(x),
                             map->request.col, map->request.cols, map->width);
      const int px_y = pixel(look.view.row + look.view.rows * static_cast<double>(y),
                             map->request.row, map->request.rows, map->height);
      const float shown =
          map->values[static_cast<std::size_t>(px_y) * static_cast<std::size_t>(map->width) +
                      static_cast<std::size_t>(px_x)];
      fact(ui, "pixel shows",
           fmt::format("{} of {:.0f} values", view::number_text(double{shown}),
                       std::ceil(per_x) * std::ceil(per_y)));
    }
  }
  text(colors(ui).quiet, "click: pick · wheel: zoom · drag: move · double-click: all");
  ImGui::EndTooltip();
}

void TensorMap::draw(Ui& ui, const std::string& id, view::TensorWorker& worker, std::size_t slot,
                     const view::TensorSource::Ptr& source, TensorLook& look, ImVec2 size,
                     bool symmetric) {
  const Place at{ImGui::GetCursorScreenPos(), {std::max(size.x, 8.0F), std::max(size.y, 8.0F)}};
  const ImVec2 max{at.min.x + at.size.x, at.min.y + at.size.y};
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddRectFilled(at.min, max, colors(ui).plot);
  ImGui::PushID(id.c_str());
  ImGui::InvisibleButton("map", at.size);
  ImGui::SetItemKeyOwner(ImGuiKey_MouseWheelY);
  ImGui::PopID();
  ui.widgets.mark(id);
  const bool hovered = ImGui::IsItemHovered();
  const bool released = ImGui::IsItemDeactivated() &&
                        ImGui::GetIO().MouseDragMaxDistanceSqr[ImGuiMouseButton_Left] < 9.0F;
  if (source == nullptr || source->count == 0) {
    return;
  }
  input(*source, look, at, hovered);
  worker.want_map(
      slot, view::map_request(source, look.view, static_cast<int>(at.size.x),
                              static_cast<int>(at.size.y), static_cast<view::Pool>(look.pool)));
  const auto map = worker.map(slot);
  const auto scan = worker.scan(slot);
  draw->PushClipRect(at.min, max, true);
  if (map != nullptr && map->error.empty()) {
    find_range(*map, scan.get(), look, symmetric);
    image(ui, id, *map, look, at);
    numbers(ui, *source, look, at);
    marks(ui, *source, look, at);
  }
  draw->PopClipRect();
  if (map != nullptr && map->progress < 1.0) {
    draw->AddRectFilled({at.min.x, max.y - px(ui, 2.0F)},
                        {at.min.x + at.size.x * static_cast<float>(map->progress), max.y},
                        colors(ui).accent);
  }
  if (released && look.hovered >= 0) {
    look.picked = look.hovered;
    // A pixel of many values: pick the one that it shows.
    const auto strongest = [&](const view::ValueMap& m) {
      const auto row = static_cast<std::uint64_t>(look.hovered) / source->cols - m.request.row;
      const auto col = static_cast<std::uint64_t>(look.hovered) % source->cols - m.request.col;
      if (row >= m.request.rows || col >= m.request.cols) {
        return;
      }
      const auto pixel = [](std::uint64_t cell, std::uint64_t n, int pixels) {
        return static_cast<int>(cell * static_cast<std::uint64_t>(pixels) / n);
      };
      const view::Covered rows =
          view::covered(m.request.rows, m.height, pixel(row, m.request.rows, m.height));
      const view::Covered cols =
          view::covered(m.request.cols, m.width, pixel(col, m.request.cols, m.width));
      const std::uint64_t n_cols = cols.last - cols.first + 1;
      if (m.request.pool == view::Pool::kMean ||
          (rows.last - rows.first + 1) * n_cols > kSearchable) {
        return;
      }
      float best = 0.0F;
      std::uint64_t seen = 0;
      for (std::uint64_t r = rows.first; r <= rows.last; ++r) {
        const std::uint64_t begin = (m.request.row + r) * source->cols + m.request.col + cols.first;
        const auto values = source->read(begin, n_cols);
        for (std::uint64_t i = 0; values.ok() && i < n_cols; ++i, ++seen) {
          const float next = view::pool_value(m.request.pool, best, values.value()[i], seen);
          if (seen == 0 ||
              std::bit_cast<std::uint32_t>(next) != std::bit_cast<std::uint32_t>(best)) {
            look.picked = static_cast<std::int64_t>(begin + i);
          }
          best = next;
        }
      }
    };
    if (map != nullptr && map->error.empty() && map->width > 0) {
      strongest(*map);
    }
  }
  if (hovered) {
    tooltip(ui, *source, map.get(), look, at);
  }
}

}  // namespace layerscope::gui

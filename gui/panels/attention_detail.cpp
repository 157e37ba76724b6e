#include "gui/panels/attention_detail.h"

#include <fmt/format.h>
#include <imgui_internal.h>

#include <algorithm>
#include <cmath>

#include "gui/panels/actions.h"
#include "gui/panels/widgets.h"
#include "gui/view/frames.h"
#include "gui/view/head_table.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

/// Text turned by a quarter, reading upwards, its end at `end`. It is written at `visible` first:
/// glyphs outside the clip rectangle would be left out before they are turned.
void text_up(ImDrawList* draw, ImVec2 visible, ImVec2 end, ImU32 color, const std::string& value) {
  const ImVec2 size = ImGui::CalcTextSize(value.c_str());
  const int first = draw->VtxBuffer.Size;
  // Not AddText: who watches texts (tests/gui/texts) must not take them for standing there.
  const ImVec4 clip = ImGui::GetCurrentWindow()->ClipRect.ToVec4();
  ImGui::GetFont()->RenderText(draw, ImGui::GetFontSize(), visible, color, clip, value.c_str(),
                               value.c_str() + value.size());
  for (int i = first; i < draw->VtxBuffer.Size; ++i) {
    ImVec2& p = draw->VtxBuffer[i].pos;
    const float x = p.x - visible.x;
    const float y = p.y - visible.y;
    p = {end.x + y - size.y / 2.0F, end.y + size.x - x};
  }
}

}  // namespace

bool AttentionDetail::can_zoom(const Ui& ui) const {
  const bool live = ui.side() == session::Side::kA && ui.snapshot->recording == nullptr;
  return ui.pictures && live && (ui.snapshot->draws || ui.snapshot->backend == "cpu");
}

/// The engine's picture of the part that is looked at, once it is there.
void AttentionDetail::update_picture(Ui& ui) {
  const session::Snapshot& s = *ui.snapshot;
  backend::MapView view = zoom_;
  view.layer = ui.selection.layer;
  view.head = ui.selection.head;
  view.scores = ui.settings.show_scores;
  auto wanted = resolve(view, s.n_frames);
  if (!wanted) {  // what was looked at is gone
    zoom_ = {};
    view.first_query = view.n_queries = view.first_key = view.n_keys = 0;
    wanted = resolve(view, s.n_frames);
  }
  ui.look.map = view;
  shown_ = {};
  shown_.picture = true;
  shown_.rect = wanted.value_or(backend::MapRect{});
  if (ui.drawn == nullptr || ui.drawn->frame.map.empty()) {
    return;
  }
  const backend::DrawnFrame& frame = ui.drawn->frame;
  if (resolve(view, frame.n_tokens) != frame.rect) {
    return;  // of another head, or of another part
  }
  shown_.rect = frame.rect;
  shown_.data = ui.drawn->cells(frame.map);
  const view::ColorRange range = view::drawn_range(s, frame.rect, ui.settings.log_attention);
  shown_.data.lo = range.lo;
  shown_.data.hi = range.hi;
  shown_.data.log_scale = range.log_scale;
  shown_.non_finite = range.non_finite;
}

/// The map of the rows that came with the frames.
void AttentionDetail::update_rows(Ui& ui) {
  map_.select(ui.selection.layer, ui.selection.head,
              ui.settings.show_scores ? view::MapValue::kScore : view::MapValue::kProbability);
  if (!map_.update(*ui.snapshot)) {
    ui.requests.redraw = ui.requests.partial = true;
  }
  shown_ = {};
  shown_.data = map_.data(ui.settings.log_attention);
  shown_.non_finite = map_.non_finite();
  backend::MapRect& rect = shown_.rect;
  rect.layer = ui.selection.layer;
  rect.head = ui.selection.head;
  rect.n_queries = rect.n_keys = map_.n_tokens();
  rect.bin = map_.bin();
  rect.side = map_.side();
  const int frames = ui.snapshot->n_frames;
  const bool spaced = !is_busy(ui) || std::abs(frames - requested_at_) >= 32;
  if (spaced && map_.wants_request(*ui.snapshot)) {
    ui.send(session::RequestHeadMap{ui.selection.layer, ui.selection.head});
    requested_at_ = frames;
  }
}

void AttentionDetail::update(Ui& ui) {
  if (!can_zoom(ui)) {
    zoom_ = {};
  }
  // A map of rows that were dropped needs the square of the tokens in memory; a picture does not.
  const bool too_long =
      can_zoom(ui) && !map_.missing().empty() && map_.n_tokens() > backend::kMostMapSide * 4;
  if (ui.snapshot->draws || zoom_.n_queries > 0 || too_long) {
    update_picture(ui);
  } else {
    update_rows(ui);
  }
}

/// The wheel halves and doubles, dragging moves, a double click shows all.
void AttentionDetail::zoom(Ui& ui, const Geometry& map, Point under) {
  const ImGuiIO& io = ImGui::GetIO();
  const int n = ui.snapshot->n_frames;
  if (io.MouseWheel != 0.0F) {
    zoom_ = view::zoomed(shown_.rect, under.q, under.k, io.MouseWheel > 0.0F, n);
  } else if (ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left)) {
    zoom_ = {};
  }
  if (ImGui::IsItemActivated()) {
    dragged_ = shown_.rect;
  }
  if (ImGui::IsItemActive() && zoom_.n_queries > 0 &&
      ImGui::IsMouseDragging(ImGuiMouseButton_Left)) {
    const ImVec2 way = ImGui::GetMouseDragDelta(ImGuiMouseButton_Left);
    const float tokens = static_cast<float>(dragged_.bin) / map.cell;
    zoom_ = view::moved(dragged_, -static_cast<int>(way.y * tokens),
                        -static_cast<int>(way.x * tokens), n);
  }
}

AttentionDetail::Point AttentionDetail::strongest(const Ui& ui, int row, int column) const {
  const backend::MapRect& rect = shown_.rect;
  const int first_query = rect.first_query + row * rect.bin;
  const int first_key = rect.first_key + column * rect.bin;
  Point best;
  float value = -1.0F;
  for (int q = first_query; q < std::min(first_query + rect.bin, ui.snapshot->n_frames); ++q) {
    for (int k = first_key; k < std::min(first_key + rect.bin, q + 1); ++k) {
      const float p = view::exact_value(*ui.snapshot, rect.layer, rect.head, q, k).value_or(-0.5F);
      if (best.q < 0 || p > value || (std::isnan(p) && !std::isnan(value))) {
        best = {q, k};
        value = p;
      }
    }
  }
  return best;
}

void AttentionDetail::axes(Ui& ui, const Geometry& map) const {
  const FontScope font(ui.fonts.mono, 0.76F);
  const float height = ImGui::GetTextLineHeight();
  const int every = std::max(1, static_cast<int>(std::ceil(height * 0.98F / map.cell)));
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const Palette& c = colors(ui);
  const backend::MapRect& rect = shown_.rect;
  const int shown = ui.shown_position();
  const auto label_of = [&](int position) {
    const std::string label =
        view::chip_text(tokenizer_of(ui), view::token_id(*ui.snapshot, position)).text;
    return rect.bin > 1 ? fmt::format("{}", position) : view::cut_text(label, 9);
  };
  for (int i = 0; i < rect.rows(); i += every) {
    const std::string label = label_of(rect.first_query + i * rect.bin);
    const float middle = (static_cast<float>(i) + 0.5F) * map.cell;
    const float width = ImGui::CalcTextSize(label.c_str()).x;
    const ImU32 ink = shown_.has_query(shown) && i == shown_.row_of(shown) ? c.accent : c.quiet;
    draw->AddText({map.min.x - width - px(ui, 5.0F), map.min.y + middle - height / 2.0F}, ink,
                  label.c_str());
  }
  for (int i = 0; i < rect.columns(); i += every) {
    const float middle = (static_cast<float>(i) + 0.5F) * map.cell;
    text_up(draw, map.min, {map.min.x + middle, map.min.y + map.side + px(ui, 4.0F)}, c.quiet,
            label_of(rect.first_key + i * rect.bin));
  }
}

void AttentionDetail::crosshair(Ui& ui, const Geometry& map, Point at) const {
  const Palette& c = colors(ui);
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const auto edge = [&](float origin, int cell) {
    return origin + static_cast<float>(cell) * map.cell;
  };
  const int shown = ui.shown_position();
  if (shown_.has_query(shown)) {
    const int row = shown_.row_of(shown);
    const int end = std::clamp(shown_.column_of(shown) + 1, 1, shown_.cells());
    draw->AddRect({map.min.x, edge(map.min.y, row)},
                  {edge(map.min.x, end), edge(map.min.y, row + 1)}, kMapAccent);
  }
  if (shown_.has_key(at.k)) {
    const int column = shown_.column_of(at.k);
    draw->AddRect({edge(map.min.x, column), edge(map.min.y, column)},
                  {edge(map.min.x, column + 1), map.min.y + map.side},
                  mix(c.plot, kMapAccent, 0.7F));
    if (shown_.has_query(at.q)) {
      const int row = shown_.row_of(at.q);
      draw->AddRect({edge(map.min.x, column), edge(map.min.y, row)},
                    {edge(map.min.x, column + 1), edge(map.min.y, row + 1)}, kMapInk, 0.0F, 0,
                    px(ui, 2.0F));
    }
  }
}

void AttentionDetail::sums(Ui& ui, const Geometry& map) {
  const Palette& c = colors(ui);
  const session::Snapshot& s = *ui.snapshot;
  const int head = ui.selection.layer * 65536 + ui.selection.head;
  const backend::MapRect& rect = shown_.rect;
  if (s.version != sums_snapshot_ || head != sums_head_ || rect != sums_rect_) {
    row_sums_.update(s, ui.selection.layer, ui.selection.head);
    sums_ = row_sums_.grouped(rect.bin);
    // A sum of 1 is what is expected: only what differs gets a colour.
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      capture::HeadStats stats;
      stats.row_sum = sums_[i];
      if (ui.side() == session::Side::kDifference ||
          !view::row_sum_off(stats, static_cast<int>(i + 1) * rect.bin)) {
        sums_[i] = HeatmapData::kHole;
      }
    }
    // Only the lines of the part shown.
    const auto lines = static_cast<std::size_t>(rect.rows());
    const auto first =
        std::min(static_cast<std::size_t>(rect.first_query / rect.bin), sums_.size());
    sums_.erase(sums_.begin(), sums_.begin() + static_cast<std::ptrdiff_t>(first));
    sums_.resize(std::max<std::size_t>(lines, 1), HeatmapData::kHole);
    sums_rect_ = rect;
    sums_snapshot_ = s.version;
    sums_head_ = head;
    ++sums_version_;
  }
  const ImVec2 min{map.min.x + map.side + px(ui, 5.0F), map.min.y};
  const ImVec2 max{min.x + px(ui, 7.0F),
                   map.min.y + map.cell * static_cast<float>(std::max(rect.rows(), 1))};
  ImGui::GetWindowDrawList()->AddRectFilled(min, max, c.track);
  HeatmapData data;
  data.width = 1;
  data.height = static_cast<int>(sums_.size());
  data.values = sums_;
  data.version = sums_version_;
  data.lo = 0.9F;
  data.hi = 1.1F;
  data.color_map = ColorMap::kDiverging;
  if (data.height > 0) {
    heatmap(ui, "attention/sums", data, min, max);
  }
  ImGui::SetCursorScreenPos(min);
  ImGui::InvisibleButton("sums", {max.x - min.x, std::max(max.y - min.y, 1.0F)});
  ui.widgets.mark("attention/sums");
  tip("Row sums: empty where the probabilities of a row add up to 1, blue below, red above "
      "(0.9 … 1.1), magenta where the sum is not a number.");
}

void AttentionDetail::line(Ui& ui, Point at, bool hovered) const {
  const Palette& c = colors(ui);
  const session::Snapshot& s = *ui.snapshot;
  const int layer = ui.selection.layer;
  const int head = ui.selection.head;
  const capture::HeadStats* stats = view::head_stats(s.frame(at.q), layer, head);
  if (stats != nullptr) {
    ui.widgets.state("attention/row_sum", fmt::format("{:.4f}", stats->row_sum));
  }
  const FontScope font(ui.fonts.mono);
  if (at.q < 0) {
    text(c.quiet, "Point at the map for exact values; click to select query and key.");
    return;
  }
  bool first = true;
  // What no longer fits is left out, the most important parts come first.
  const auto add = [&](ImU32 color, const std::string& words) {
    if (!first) {
      ImGui::SameLine(0.0F, px(ui, 8.0F));
    }
    if (first || ImGui::CalcTextSize(words.c_str()).x <= ImGui::GetContentRegionAvail().x) {
      text(color, words);
    } else {
      ImGui::NewLine();
    }
    first = false;
  };
  const std::size_t limit = ImGui::GetContentRegionAvail().x < px(ui, 420.0F) ? 9 : 18;
  const auto quoted = [&](int position) {
    return view::cut_text(view::quoted_token(tokenizer_of(ui), view::token_id(s, position)), limit);
  };
  add(c.text, fmt::format("q {} {}", at.q, quoted(at.q)));
  const auto exact = view::exact_value(s, layer, head, at.q, at.k);
  if (at.k >= 0) {
    add(c.text, fmt::format("→ k {} {}", at.k, quoted(at.k)));
    if (at.k > at.q) {
      add(c.quiet, "masked: later than the query");
    } else if (exact || (stats != nullptr && stats->argmax == at.k)) {
      const float p = exact.value_or(stats != nullptr ? stats->max : 0.0F);
      // Of many keys each has little.
      const std::string value =
          p > 0.0F && p < 0.001F ? fmt::format("{:.3e}", p) : fmt::format("{:.4f}", p);
      add(c.accent, value);
      ui.widgets.state("attention/value", value);
      ui.widgets.state("attention/exact", fmt::format("{} {} {:.9g}", at.q, at.k, p));
      const float lse = stats != nullptr ? stats->lse : 0.0F;
      if (ui.side() == session::Side::kDifference) {
        return;  // a difference of probabilities has no score, its row no sum
      }
      const float score = view::map_value(p, lse, view::MapValue::kScore);
      add(c.quiet, score == HeatmapData::kHole ? std::string("score −inf")
                                               : fmt::format("score {:.2f}", score));
    } else {
      add(c.warn, shown_.picture ? "…" : "row not kept; recomputing");
    }
  }
  if (stats != nullptr) {
    const bool off = ui.side() != session::Side::kDifference && view::row_sum_off(*stats, at.q + 1);
    add(off ? c.error : c.quiet,
        fmt::format("· row sum {:.4f}{}", stats->row_sum, off ? " (should be 1)" : ""));
  }
  if (hovered && shown_.rect.bin > 1) {
    add(c.quiet, fmt::format("· strongest of {0} × {0}", shown_.rect.bin));
  }
}

AttentionDetail::Margins AttentionDetail::margins(const Ui& ui, ImVec2 room) {
  Margins m{};
  m.footer = ImGui::GetTextLineHeightWithSpacing() * 2.0F + px(ui, 16.0F);
  m.strip = px(ui, 14.0F);
  if (std::min(room.x, room.y - m.footer) >= px(ui, 240.0F)) {
    const FontScope font(ui.fonts.mono, 0.76F);
    m.labels = ImGui::CalcTextSize("000000000").x + px(ui, 6.0F);
  }
  return m;
}

float AttentionDetail::wanted_width(const Ui& ui, float height) {
  const Margins m = margins(ui, {height, height});
  return std::max(height - m.footer + m.strip, px(ui, 200.0F));
}

void AttentionDetail::draw(Ui& ui, ImVec2 room) {
  const Palette& c = colors(ui);
  update(ui);
  const auto [label_room, strip, footer] = margins(ui, room);
  Geometry map;
  map.side = std::floor(
      std::max(px(ui, 60.0F), std::min(room.x - label_room - strip, room.y - footer - label_room)));
  map.cell = map.side / static_cast<float>(shown_.cells());
  const ImVec2 start = ImGui::GetCursorScreenPos();
  map.min = {start.x + label_room, start.y};
  const ImVec2 max{map.min.x + map.side, map.min.y + map.side};

  ImGui::GetWindowDrawList()->AddRectFilled(map.min, max, c.plot);
  const HeatmapData& data = shown_.data;
  if (data.width > 0) {
    const float uv = static_cast<float>(shown_.cells()) / static_cast<float>(data.width);
    heatmap(ui, shown_.picture ? "attention/picture" : "attention/map", data, map.min, max,
            {uv, uv});
  }
  if (label_room > 0.0F) {
    axes(ui, map);
  }
  ImGui::SetCursorScreenPos(map.min);
  ImGui::InvisibleButton("map", {map.side, map.side});
  ui.widgets.mark("attention/map");
  const backend::MapRect& rect = shown_.rect;
  ui.widgets.state("attention/map_size", fmt::format("{} x {}", rect.n_queries, rect.n_keys));
  ui.widgets.state("attention/map_part", fmt::format("{} {}", rect.first_query, rect.first_key));
  ui.widgets.state("attention/map_source", !shown_.picture  ? "frames"
                                           : data.width > 0 ? "picture"
                                                            : "none");
  Point at{ui.shown_position(), ui.selection.key_position};
  const bool hovered = ImGui::IsItemHovered() && rect.n_queries > 0;
  if (hovered) {
    const ImVec2 mouse = ImGui::GetIO().MousePos;
    const auto index = [&](float v, int n) {
      return std::clamp(static_cast<int>(v / map.cell), 0, std::max(n - 1, 0));
    };
    const int row = index(mouse.y - map.min.y, rect.rows());
    const int column = index(mouse.x - map.min.x, rect.columns());
    const Point corner{rect.first_query + row * rect.bin, rect.first_key + column * rect.bin};
    if (shown_.picture && corner.k <= corner.q + rect.bin - 1) {
      ask_attention(ui, view::pairs_of_cell(rect, row, column, ui.snapshot->n_frames));
    }
    const Point found = strongest(ui, row, column);
    at = found.q >= 0 ? found : corner;
    const ImGuiIO& io = ImGui::GetIO();
    const bool dragged =
        io.MouseDragMaxDistanceSqr[0] > io.MouseDragThreshold * io.MouseDragThreshold;
    if (ImGui::IsItemDeactivated() && !dragged && at.k <= at.q) {
      select_position(ui, at.q);
      ui.selection.key_position = at.k;
    }
    const std::size_t cell = static_cast<std::size_t>(row) * static_cast<std::size_t>(data.width) +
                             static_cast<std::size_t>(column);
    // A GPU's cells are not to be read.
    ui.widgets.state("attention/cell",
                     cell < data.values.size()
                         ? fmt::format("{} {} {:.9g}", corner.q, corner.k, data.values[cell])
                         : std::string());
    if (can_zoom(ui)) {
      zoom(ui, map, corner);
    }
  } else if (at.q >= 0 && at.k < 0) {
    const capture::HeadStats* stats =
        view::head_stats(ui.shown_frame(), ui.selection.layer, ui.selection.head);
    at.k = stats != nullptr ? std::min(stats->argmax, at.q) : -1;
  }
  crosshair(ui, map, at);
  sums(ui, map);
  ImGui::SetCursorScreenPos({start.x, max.y + label_room + px(ui, 4.0F)});
  line(ui, at, hovered);
  std::string note = fmt::format("{} · {}", ui.settings.show_scores ? "score" : "probability",
                                 data.log_scale ? "log, auto range" : "auto range");
  if (zoom_.n_queries > 0) {
    note = fmt::format("part · double click shows all · {}", note);
  }
  if (!shown_.picture && !map_.missing().empty()) {
    note = fmt::format("{} rows not kept · {}", map_.missing().size(), note);
  }
  if (shown_.non_finite > 0) {
    note += " · holds non-finite values";
  }
  color_bar(ui, "attention/bar", data, std::min(room.x, label_room + map.side), note);
}

}  // namespace layerscope::gui

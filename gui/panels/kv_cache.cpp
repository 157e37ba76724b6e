// KV cache tab: the state of every slot, layers and KV heads × slots, who reads them, and the
// values of one slot. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "gui/panels/actions.h"
#include "gui/panels/panels.h"
#include "gui/panels/plot.h"
#include "gui/panels/widgets.h"
#include "gui/view/export_text.h"
#include "gui/view/kv_view.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

using view::KvShow;
using view::SlotState;

constexpr std::array<const char*, 3> kShows{"state", "key norm", "value norm"};
constexpr int kMostColumns = 2048;
constexpr double kWhileRunning = 0.5;  ///< seconds between two requests

class KvCachePanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "kv"; }
  [[nodiscard]] const char* title() const override { return "KV cache"; }
  void draw(Ui& ui) override;
  [[nodiscard]] std::string csv(const Ui& ui) const override;

 private:
  void ask(Ui& ui);
  bool follow(Ui& ui, const std::shared_ptr<const session::CacheView>& cache);
  void legend(Ui& ui) const;
  void map(Ui& ui, const capture::CacheStats& stats, ImVec2 room);
  void slot(Ui& ui, const session::CacheView& cache) const;

  int show_ = 0;
  int layer_ = 0, head_ = 0, slot_ = -1;  ///< −1: the newest
  view::KvMap map_;
  std::shared_ptr<const session::CacheView> shown_;  ///< what map_ shows
  view::KvMapMaker maker_;
  std::shared_ptr<const session::CacheView> making_;  ///< what the next one will show
  int making_as_ = -1;
  std::uint64_t version_ = 0;
  struct Asked {
    std::uint64_t snapshot = 0;
    int layer = -1, head = -1, slot = -1;
    double at = -1.0;
  } asked_;
};

void KvCachePanel::ask(Ui& ui) {
  const session::Snapshot& s = *ui.snapshot;
  layer_ = std::clamp(ui.selection.layer, 0, std::max(s.model->n_layers - 1, 0));
  const std::uint64_t last = s.n_frames > 0 ? s.frame(s.n_frames - 1)->serial : 0;
  const int slot = slot_ < 0 ? s.n_frames - 1 : slot_;
  const bool same = asked_.snapshot == last && asked_.layer == layer_ && asked_.head == head_ &&
                    asked_.slot == slot;
  const double now = ImGui::GetTime();
  if (same || (is_busy(ui) && now - asked_.at < kWhileRunning)) {
    ui.requests.redraw = ui.requests.redraw || !same;
    return;
  }
  asked_ = {last, layer_, head_, slot, now};
  ui.send(session::InspectCache{layer_, head_, slot});
}

/// Brings the map up to date, some of it per frame; false until there is a first one.
bool KvCachePanel::follow(Ui& ui, const std::shared_ptr<const session::CacheView>& cache) {
  constexpr std::size_t kPerFrame = 1U << 20U;
  const bool idle = making_ == nullptr || maker_.done();
  if (making_as_ != show_ || (idle && making_ != cache)) {
    making_ = cache;
    making_as_ = show_;
    maker_.start(cache->stats, static_cast<KvShow>(show_), kMostColumns);
  } else if (idle) {
    return true;
  }
  if (maker_.advance(kPerFrame)) {
    shown_ = making_;
    map_ = std::move(maker_.map());
    maker_.map() = {};  // no rows are left to do
    ++version_;
  } else {
    ui.requests.redraw = true;
  }
  return shown_ != nullptr;
}

void KvCachePanel::legend(Ui& ui) const {
  const Palette& c = colors(ui);
  const std::array<ImU32, 5> inks{c.faint, to_color({0.0F, 0.0F, 0.0F}), c.warn, c.error,
                                  IM_COL32(255, 0, 200, 255)};
  for (std::size_t i = 1; i < map_.count.size(); ++i) {
    const auto state = static_cast<SlotState>(i);
    ImU32 ink = inks[i];
    if (state == SlotState::kWritten) {
      ink = c.good;
    }
    ImGui::SameLine(0.0F, px(ui, 16.0F));
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float size = px(ui, 9.0F);
    const float y =
        at.y + ImGui::GetStyle().FramePadding.y + (ImGui::GetTextLineHeight() - size) / 2.0F;
    ImGui::GetWindowDrawList()->AddRectFilled({at.x, y}, {at.x + size, y + size}, ink);
    ImGui::SetCursorPosX(ImGui::GetCursorPosX() + size + px(ui, 5.0F));
    text(map_.count[i] > 0 ? c.text : c.faint,
         fmt::format("{} {}", view::slot_state_name(state), view::grouped(map_.count[i])));
    static constexpr std::array<const char*, 5> kWhy{
        "", "Read by attention, finite, not zero throughout",
        "Written before a rewind: attention no longer reads it, and the next tokens write over it",
        "Read by attention, but key and value are zero throughout: a token's write is missing",
        "Holds NaN or infinite values: every later token of this head reads them"};
    tip(kWhy[i]);
  }
}

void KvCachePanel::map(Ui& ui, const capture::CacheStats& stats, ImVec2 room) {
  const Palette& c = colors(ui);
  const FontScope font(ui.fonts.mono, 0.8F);
  const float margin = ImGui::CalcTextSize("L00 kv00").x + px(ui, 6.0F);
  const float footer = ImGui::GetTextLineHeightWithSpacing();
  const ImVec2 start = ImGui::GetCursorScreenPos();
  const ImVec2 min{start.x + margin, start.y};
  const ImVec2 size{std::max(room.x - margin, 8.0F), std::max(room.y - footer, 8.0F)};
  const ImVec2 max{min.x + size.x, min.y + size.y};
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddRectFilled(min, max, c.plot);
  const auto show = static_cast<KvShow>(show_);
  const float cell_w = size.x / static_cast<float>(std::max(map_.columns, 1));
  const float cell_h = size.y / static_cast<float>(std::max(map_.rows, 1));
  if (show == KvShow::kState) {
    // Five kinds: rectangles in the roles' colours, runs of one kind at a time.
    for (int r = 0; r < map_.rows; ++r) {
      int from = 0;
      const auto value = [&](int col) {
        return map_.cells[static_cast<std::size_t>(r) * static_cast<std::size_t>(map_.columns) +
                          static_cast<std::size_t>(col)];
      };
      for (int col = 1; col <= map_.columns; ++col) {
        if (col < map_.columns && value(col) == value(from)) {
          continue;
        }
        const float state = value(from);
        ImU32 ink = 0;
        if (state == static_cast<float>(SlotState::kWritten)) {
          ink = mix(c.plot, c.good, r % 2 == 0 ? 0.42F : 0.36F);
        } else if (state == static_cast<float>(SlotState::kStale)) {
          ink = mix(c.plot, c.warn, 0.75F);
        } else if (state == static_cast<float>(SlotState::kZero)) {
          ink = c.error;
        } else if (state == static_cast<float>(SlotState::kNonFinite)) {
          ink = IM_COL32(255, 0, 200, 255);
        }
        if (ink != 0) {
          const float y = min.y + cell_h * static_cast<float>(r);
          draw->AddRectFilled(
              {min.x + cell_w * static_cast<float>(from), y},
              {min.x + cell_w * static_cast<float>(col), y + std::max(cell_h - 1.0F, 1.0F)}, ink);
        }
        from = col;
      }
    }
  } else {
    HeatmapData data;
    data.width = map_.columns;
    data.height = map_.rows;
    data.values = map_.cells;
    data.version = version_;
    data.lo = map_.lo;
    data.hi = map_.hi;
    heatmap(ui, "kv/heat", data, min, max);
  }
  const int every = std::max(1, static_cast<int>(std::ceil(ImGui::GetTextLineHeight() / cell_h)));
  for (int r = 0; r < map_.rows; r += every) {
    const bool here = r / stats.n_kv_heads == layer_;
    draw->AddText({start.x, min.y + (static_cast<float>(r) + 0.5F) * cell_h -
                                ImGui::GetTextLineHeight() / 2.0F},
                  here ? c.text : c.quiet,
                  fmt::format("L{} kv{}", r / stats.n_kv_heads, r % stats.n_kv_heads).c_str());
  }
  // Where attention stops reading.
  const float end = min.x + size.x * static_cast<float>(stats.kv_len) /
                                static_cast<float>(std::max(stats.n_slots, 1));
  draw->AddLine({end, min.y}, {end, max.y}, c.accent, px(ui, 1.5F));
  ImGui::SetCursorScreenPos(min);
  ImGui::InvisibleButton("map", size);
  ui.widgets.mark("kv/map");
  if (ImGui::IsItemHovered() && map_.rows > 0) {
    const ImVec2 mouse = ImGui::GetIO().MousePos;
    const int r = std::clamp(static_cast<int>((mouse.y - min.y) / cell_h), 0, map_.rows - 1);
    const int col = std::clamp(static_cast<int>((mouse.x - min.x) / cell_w), 0, map_.columns - 1);
    const int layer = r / stats.n_kv_heads;
    const int head = r % stats.n_kv_heads;
    const int slot = std::min(col * map_.bin, stats.n_slots - 1);
    if (ImGui::IsItemClicked()) {
      ui.selection.layer = layer;
      ui.selection.head =
          head * std::max(1, ui.snapshot->model->n_heads / std::max(1, stats.n_kv_heads));
      head_ = head;
      slot_ = slot;
      if (slot < ui.snapshot->n_frames) {
        select_position(ui, slot);
      }
    }
    const FontScope usual(ui.fonts.regular);
    if (ImGui::BeginTooltip()) {
      const capture::SlotStats& entry = stats.at(layer, head, slot);
      text(c.text,
           fmt::format("layer {} · KV head {} · slot {}{}", layer, head, slot,
                       map_.bin > 1
                           ? fmt::format(" … {}", std::min(slot + map_.bin, stats.n_slots) - 1)
                           : ""));
      fact(ui, "state", view::slot_state_name(view::slot_state(stats, layer, head, slot)));
      fact(ui, "token", slot < ui.snapshot->n_frames ? token_label(ui, slot) : "none");
      fact(ui, "read by heads",
           view::readers_text(ui.snapshot->model->n_heads, stats.n_kv_heads, head));
      fact(ui, "key L2", view::number_text(double{entry.k_l2}));
      fact(ui, "value L2", view::number_text(double{entry.v_l2}));
      ImGui::EndTooltip();
    }
  }
  const int shown = shown_->slot;
  const int column = shown / map_.bin;
  const float x = min.x + cell_w * static_cast<float>(column);
  const float y =
      min.y + cell_h * static_cast<float>(shown_->layer * stats.n_kv_heads + shown_->kv_head);
  draw->AddRect({x - 1.0F, y - 1.0F},
                {x + std::max(cell_w, 3.0F) + 1.0F, y + std::max(cell_h, 3.0F) + 1.0F}, c.accent,
                0.0F, 0, px(ui, 2.0F));
  ImGui::SetCursorScreenPos({start.x, max.y + px(ui, 2.0F)});
  text(c.quiet, fmt::format("slots 0 … {} · attention reads {} of {} · read out in {:.1f} ms",
                            stats.n_slots - 1, stats.kv_len, stats.context, shown_->ms));
}

void KvCachePanel::slot(Ui& ui, const session::CacheView& cache) const {
  const Palette& c = colors(ui);
  section_title(ui, "One slot");
  subtitle(ui,
           fmt::format("layer {} · KV head {} · slot {}", cache.layer, cache.kv_head, cache.slot));
  if (cache.key.empty()) {
    text(c.quiet, "nothing was written yet");
    return;
  }
  fact(ui, "read by heads",
       view::readers_text(ui.snapshot->model->n_heads, cache.stats.n_kv_heads, cache.kv_head));
  fact(
      ui, "state",
      view::slot_state_name(view::slot_state(cache.stats, cache.layer, cache.kv_head, cache.slot)));
  const std::array lines{PlotLine{"key, rotated", &cache.key, c.accent},
                         PlotLine{"value", &cache.value, c.warn}};
  plot_legend(ui, lines);
  const float width = ImGui::CalcTextSize("Copy").x;
  ImGui::SameLine(std::max(ImGui::GetCursorPosX(), right_edge() - width));
  if (button(ui, "kv/copy", "Copy", Look::kLink,
             "Copy the key's and the value's numbers as comma-separated values")) {
    std::string all = "dimension,key,value\n";
    for (std::size_t i = 0; i < cache.key.size() && i < cache.value.size(); ++i) {
      all += fmt::format("{},{:.9g},{:.9g}\n", i, cache.key[i], cache.value[i]);
    }
    ImGui::SetClipboardText(all.c_str());
  }
  Plot plot;
  plot.id = "kv/slot";
  plot.size = {ImGui::GetContentRegionAvail().x,
               std::clamp(ImGui::GetContentRegionAvail().y, px(ui, 40.0F), px(ui, 200.0F))};
  plot.x_name = "dimension";
  line_plot(ui, plot, lines);
}

std::string KvCachePanel::csv(const Ui& ui) const {
  const auto& cache = ui.snapshot->cache_view;
  if (cache == nullptr || !cache->error.empty()) {
    return {};
  }
  const capture::CacheStats& stats = cache->stats;
  std::string all = "layer,kv_head,slot,state,key_l2,value_l2,non_finite\n";
  for (int layer = 0; layer < stats.n_layers; ++layer) {
    for (int head = 0; head < stats.n_kv_heads; ++head) {
      for (int slot = 0; slot < stats.n_slots; ++slot) {
        const capture::SlotStats& entry = stats.at(layer, head, slot);
        all += fmt::format("{},{},{},{},{:.9g},{:.9g},{}\n", layer, head, slot,
                           view::slot_state_name(view::slot_state(stats, layer, head, slot)),
                           entry.k_l2, entry.v_l2, entry.non_finite);
      }
    }
  }
  return all;
}

void KvCachePanel::draw(Ui& ui) {
  const session::Snapshot& s = *ui.snapshot;
  if (s.model == nullptr || s.n_frames == 0) {
    empty_until_run(
        ui, "kv", "The cache is empty",
        "Every evaluated token writes a key and a value into a slot of each layer. Open a "
        "model and press Step (F10): written, stale, zero and NaN slots then show here.");
    slot_ = -1;
    return;
  }
  ask(ui);
  const auto& cache = s.cache_view;
  if (cache == nullptr) {
    empty_state(ui, "kv", "Reading the cache…", "It arrives with the next answer of the engine.");
    return;
  }
  if (!cache->error.empty()) {
    empty_state(ui, "kv", "The cache cannot be shown", cache->error);
    ui.widgets.state("kv/error", cache->error);
    return;
  }
  if (!follow(ui, cache)) {
    empty_state(ui, "kv", "Reading the cache…", "Its slots are being looked at.");
    return;
  }
  for (std::size_t i = 1; i < map_.count.size(); ++i) {
    ui.widgets.state(fmt::format("kv/{}", view::slot_state_name(static_cast<SlotState>(i))),
                     fmt::format("{}", map_.count[i]));
  }
  ui.widgets.state("kv/len", fmt::format("{}", cache->stats.kv_len));
  ui.widgets.state("kv/slot", fmt::format("{}", cache->slot));
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const float right = std::clamp(room.x * 0.28F, px(ui, 230.0F), px(ui, 480.0F));
  const float gap = px(ui, 18.0F);
  constexpr ImGuiWindowFlags kStill =
      ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse;
  if (ImGui::BeginChild("map", {std::max(room.x - right - gap, 1.0F), room.y}, 0, kStill)) {
    section_title(ui, "Layers and KV heads × slots");
    ImGui::SameLine(0.0F, px(ui, 10.0F));
    combo(ui, "kv/show", "show: ", show_, kShows.data(), static_cast<int>(kShows.size()));
    tip("What the colours say: the state of each slot, or the size of its key or value");
    legend(ui);
    if (map_.rows > 0) {
      map(ui, shown_->stats, ImGui::GetContentRegionAvail());
    }
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, gap);
  if (ImGui::BeginChild("slot", {right, room.y})) {
    slot(ui, *cache);
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_kv_cache() { return std::make_unique<KvCachePanel>(); }

}  // namespace layerscope::gui

// Norms tab: layers × tokens map of one tap's L2 norm, and the selected token's norms over the
// layers. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "gui/panels/actions.h"
#include "gui/panels/panels.h"
#include "gui/panels/plot.h"
#include "gui/panels/widgets.h"
#include "gui/view/frames.h"
#include "gui/view/norms.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

using capture::Tap;

struct Choice {
  Tap tap;
  const char* text;
};
constexpr std::array<Choice, 22> kChoices{{
    {Tap::kResidOut, "residual (resid_out)"},
    {Tap::kAttnOut, "attention out (attn_out)"},
    {Tap::kFfnOut, "feed-forward out (ffn_out)"},
    {Tap::kQ, "query (q)"},
    {Tap::kK, "key (k)"},
    {Tap::kV, "value (v)"},
    {Tap::kQRope, "rotated query (q_rope)"},
    {Tap::kKRope, "rotated key (k_rope)"},
    {Tap::kAttnNorm, "normed input (attn_norm)"},
    {Tap::kAttnContext, "head outputs (attn_context)"},
    {Tap::kResidMid, "residual, middle (resid_mid)"},
    {Tap::kFfnNorm, "normed middle (ffn_norm)"},
    {Tap::kFfnGate, "gate (ffn_gate)"},
    {Tap::kFfnUp, "up (ffn_up)"},
    {Tap::kFfnAct, "activated (ffn_act)"},
    {Tap::kAttnPostNorm, "normed attention out (attn_post_norm)"},
    {Tap::kFfnPostNorm, "normed feed-forward out (ffn_post_norm)"},
    {Tap::kMoeRouter, "router logits (moe_router)"},
    {Tap::kMoeWeights, "expert weights (moe_weights)"},
    {Tap::kEmbedding, "embedding"},
    {Tap::kFinalNorm, "final norm (final_norm)"},
    {Tap::kLogits, "logits"},
}};

class NormsPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "norms"; }
  [[nodiscard]] const char* title() const override { return "Norms"; }
  void draw(Ui& ui) override;

 private:
  void map(Ui& ui, ImVec2 room, Tap tap);
  static void hover(Ui& ui, Tap tap, int layer, int position);
  static void profile(Ui& ui);

  view::NormsMap map_;
};

void NormsPanel::hover(Ui& ui, Tap tap, int layer, int position) {
  if (!ImGui::BeginTooltip()) {
    return;
  }
  text(colors(ui).text, layer < 0 ? std::string(capture::tap_name(tap))
                                  : fmt::format("layer {} · {}", layer, capture::tap_name(tap)));
  text(colors(ui).quiet, token_label(ui, position));
  const capture::TapStats* stats = view::tap_stats(ui.snapshot->frame(position), layer, tap);
  if (stats == nullptr || stats->count == 0) {
    text(colors(ui).quiet, "not captured");
  } else {
    fact(ui, "L2 norm", view::number_text(double{stats->l2}));
    fact(ui, "largest |x|", view::number_text(double{stats->absmax}));
    fact(ui, "mean", view::number_text(double{stats->mean}));
    fact(ui, "values", view::grouped(stats->count));
    fact(ui, "zeros", view::grouped(stats->zeros));
    fact(ui, "non-finite", view::grouped(stats->non_finite));
    if (stats->non_finite > 0) {
      text(colors(ui).error, "holds NaN or infinite values");
    }
  }
  ImGui::EndTooltip();
}

void NormsPanel::map(Ui& ui, ImVec2 room, Tap tap) {
  const Palette& c = colors(ui);
  const float footer = ImGui::GetTextLineHeightWithSpacing() + px(ui, 14.0F);
  const float margin = ImGui::CalcTextSize("00").x + px(ui, 8.0F);
  const int used = std::max(map_.used(), 1);
  const int rows = std::max(map_.rows(), 1);
  const ImVec2 start = ImGui::GetCursorScreenPos();
  const ImVec2 size{std::max(room.x - margin, 1.0F), std::max(room.y - footer, px(ui, 24.0F))};
  const ImVec2 min{start.x + margin, start.y};
  const ImVec2 max{min.x + size.x, min.y + size.y};
  const HeatmapData data = map_.data();
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddRectFilled(min, max, c.plot);
  heatmap(
      ui, "norms/map", data, min, max,
      {static_cast<float>(map_.used()) / static_cast<float>(std::max(map_.columns(), 1)), 1.0F});
  const float cell_w = size.x / static_cast<float>(used);
  const float cell_h = size.y / static_cast<float>(rows);
  {
    const FontScope font(ui.fonts.mono, 0.76F);
    const float line = ImGui::GetTextLineHeight();
    const int every = std::max(1, static_cast<int>(std::ceil(line / cell_h)));
    for (int r = 0; r < rows && map_.rows() > 1; r += every) {
      const std::string label = fmt::format("{}", r);
      draw->AddText({min.x - ImGui::CalcTextSize(label.c_str()).x - px(ui, 4.0F),
                     min.y + (static_cast<float>(r) + 0.5F) * cell_h - line / 2.0F},
                    c.quiet, label.c_str());
    }
  }
  const int shown = ui.shown_position();
  if (shown >= 0) {
    const int column = shown / map_.bin();
    const float x = min.x + static_cast<float>(column) * cell_w;
    draw->AddRect({x, min.y}, {x + std::max(cell_w, 2.0F), max.y}, kMapAccent);
    if (map_.rows() > 1 && ui.selection.layer < rows) {
      const float y = min.y + static_cast<float>(ui.selection.layer) * cell_h;
      draw->AddRect({x, y}, {x + std::max(cell_w, 2.0F), y + cell_h}, kMapInk, 0.0F, 0,
                    px(ui, 2.0F));
    }
  }
  ImGui::SetCursorScreenPos(min);
  ImGui::InvisibleButton("map", size);
  ui.widgets.mark("norms/map");
  if (ImGui::IsItemHovered() && map_.used() > 0) {
    const ImVec2 mouse = ImGui::GetIO().MousePos;
    const int column = std::clamp(static_cast<int>((mouse.x - min.x) / cell_w), 0, map_.used() - 1);
    const int row = std::clamp(static_cast<int>((mouse.y - min.y) / cell_h), 0, rows - 1);
    const int position = std::min(column * map_.bin(), ui.snapshot->n_frames - 1);
    const int layer = capture::is_layer_tap(tap) ? row : -1;
    if (ImGui::IsItemClicked()) {
      select_position(ui, position);
      ui.selection.layer = std::max(layer, 0);
    }
    hover(ui, tap, layer, position);
  }
  ImGui::SetCursorScreenPos({min.x, max.y + px(ui, 5.0F)});
  color_bar(ui, "norms/bar", data, size.x,
            fmt::format("L2 norm, log · tokens 0 … {}", ui.snapshot->n_frames - 1));
}

void NormsPanel::profile(Ui& ui) {
  const Palette& c = colors(ui);
  const capture::TokenFrame* frame = ui.shown_frame();
  const std::vector<float> resid = view::norm_profile(frame, Tap::kResidOut);
  const std::vector<float> attn = view::norm_profile(frame, Tap::kAttnOut);
  const std::vector<float> ffn = view::norm_profile(frame, Tap::kFfnOut);
  const std::array lines{PlotLine{"residual", &resid, c.accent},
                         PlotLine{"attention out", &attn, c.warn},
                         PlotLine{"feed-forward out", &ffn, c.good}};
  section_title(ui, "Over the layers");
  subtitle(ui, "L2 norm, log · " + view::cut_text(token_label(ui, ui.shown_position()), 24));
  const float legend = ImGui::GetFrameHeightWithSpacing();
  const ImVec2 room = ImGui::GetContentRegionAvail();
  Plot plot;
  plot.id = "norms/profile";
  plot.size = {room.x, std::max(room.y - legend, px(ui, 40.0F))};
  plot.x_name = "layer";
  plot.log_y = true;
  plot.marked = ui.selection.layer;
  const int index = line_plot(ui, plot, lines);
  if (index >= 0 && ImGui::IsMouseClicked(ImGuiMouseButton_Left)) {
    ui.selection.layer = index;
  }
  plot_legend(ui, lines);
}

void NormsPanel::draw(Ui& ui) {
  const Palette& c = colors(ui);
  if (ui.shown_frame() == nullptr) {
    empty_state(ui, "norms", "No norms yet",
                "Every evaluated token adds a column: how large its hidden state is after each "
                "layer. Open a model and press Step (F10).");
    return;
  }
  static constexpr auto kNames = [] {
    std::array<const char*, kChoices.size()> names{};
    for (std::size_t i = 0; i < names.size(); ++i) {
      names[i] = kChoices[i].text;
    }
    return names;
  }();
  int& choice = ui.settings.norms_tap;
  choice = std::clamp(choice, 0, static_cast<int>(kChoices.size()) - 1);
  const Tap tap = kChoices[static_cast<std::size_t>(choice)].tap;
  map_.select(tap);
  map_.update(*ui.snapshot);
  ui.widgets.state("norms/tap", std::string(capture::tap_name(tap)));
  ui.widgets.state("norms/range", fmt::format("{} … {}", view::number_text(double{map_.lo()}),
                                              view::number_text(double{map_.hi()})));
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const bool both = room.x > px(ui, 640.0F);
  const float right = both ? std::clamp(room.x * 0.32F, px(ui, 240.0F), px(ui, 560.0F)) : 0.0F;
  const float gap = px(ui, 20.0F);
  if (ImGui::BeginChild("map side", {both ? room.x - right - gap : room.x, room.y}, 0,
                        ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse)) {
    section_title(ui, "Norm — layers × tokens");
    ImGui::SameLine(0.0F, px(ui, 10.0F));
    combo(ui, "norms/tap", "", choice, kNames.data(), static_cast<int>(kNames.size()));
    if (map_.any()) {
      map(ui, ImGui::GetContentRegionAvail(), tap);
    } else {
      text(c.quiet, "This model has no such tap, or it was not captured. Choose another above.");
    }
  }
  ImGui::EndChild();
  if (both) {
    ImGui::SameLine(0.0F, gap);
    if (ImGui::BeginChild("profile", {right, room.y}, 0,
                          ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse)) {
      profile(ui);
    }
    ImGui::EndChild();
  }
}

}  // namespace

std::unique_ptr<Panel> make_norms() { return std::make_unique<NormsPanel>(); }

}  // namespace layerscope::gui

// Norms tab: layers × tokens map of a statistic of one tap, and the selected token's norms over the
// layers. Both are drawn from the engine's pictures where there are some, else from the frames. UI
// thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "gui/panels/actions.h"
#include "gui/panels/inspect.h"
#include "gui/panels/panels.h"
#include "gui/panels/plot.h"
#include "gui/panels/widgets.h"
#include "gui/view/frames.h"
#include "gui/view/history_text.h"
#include "gui/view/lens_view.h"
#include "gui/view/norms.h"
#include "gui/view/tensor_source.h"
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

/// By backend::Statistic.
constexpr std::array<const char*, backend::kNumStatistics> kStatistics{"L2 norm", "largest |x|"};
constexpr std::array<const char*, 2> kScales{"log", "linear"};

constexpr std::array<const char*, 4> kSides{"norms over the layers", "shares of the residual",
                                            "outlier channels", "change since the kept step"};
/// A channel stands out from this many times the median size on; massive activations are 100 × and
/// more (Sun et al. 2024), healthy ones stay below ten.
constexpr float kOutlierFactor = 10.0F;

/// A plot with a legend in the room that is left, one value per layer; a click selects the layer.
void plot_over_layers(Ui& ui, Plot plot, std::span<const PlotLine> lines) {
  const float legend = ImGui::GetFrameHeightWithSpacing();
  const ImVec2 room = ImGui::GetContentRegionAvail();
  plot.size = {room.x, std::max(room.y - legend, px(ui, 40.0F))};
  plot.x_name = "layer";
  plot.marked = ui.selection.layer;
  const int index = line_plot(ui, plot, lines);
  if (index >= 0 && ImGui::IsMouseClicked(ImGuiMouseButton_Left)) {
    ui.selection.layer = index;
  }
  plot_legend(ui, lines);
}

class NormsPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "norms"; }
  [[nodiscard]] const char* title() const override { return "Norms"; }
  void draw(Ui& ui) override;

 private:
  [[nodiscard]] std::string csv(const Ui& ui) const override;
  /// A map and how many tokens it shows.
  struct Shown {
    HeatmapData cells;
    int used = 0, bin = 1, n_tokens = 0;
  };
  Shown shown_map(Ui& ui);
  void map(Ui& ui, ImVec2 room);
  void titles(Ui& ui);
  void missing(Ui& ui) const;
  static void hover(Ui& ui, Tap tap, int layer, int position);
  void profile(Ui& ui);
  void norms(Ui& ui);
  void keep_row(Ui& ui);
  void change(Ui& ui);
  static void shares(Ui& ui);
  void outliers(Ui& ui);

  view::StatChoice choice_;
  view::StatRange range_;
  view::NormsMap map_;
  int side_ = 0;  ///< kSides
  /// A step kept for comparison, as it was.
  std::shared_ptr<const capture::TokenFrame> pinned_;
  std::string pinned_name_;
  const session::ModelInfo* pinned_model_ = nullptr;
  int channel_ = -1;  ///< chosen channel of the residual stream
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
    const std::string dropped = view::dropped_statistics(*ui.snapshot, position);
    text(colors(ui).quiet, dropped.empty() ? "not captured" : dropped);
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

/// The engine's picture, if it shows what is chosen; else the frames' values.
NormsPanel::Shown NormsPanel::shown_map(Ui& ui) {
  Shown shown;
  const backend::DrawnStats* stats = view::drawn_stats(ui.drawn, *ui.snapshot);
  const bool picture = stats != nullptr && !stats->map.empty() && stats->look.tap == choice_.tap &&
                       stats->look.statistic == choice_.statistic;
  if (picture) {
    shown = {ui.drawn->cells(stats->map), stats->map.used_columns, stats->bin,
             ui.drawn->frame.n_tokens};
  } else {
    map_.update(*ui.snapshot, choice_);
    shown = {map_.data(), map_.used(), map_.bin(), ui.snapshot->n_frames};
  }
  range_.apply(!ui.settings.norms_linear, shown.cells);
  ui.widgets.state("norms/map_source", picture ? "picture" : "frames");
  ui.widgets.state("norms/map_size", fmt::format("{} x {}", shown.cells.height, shown.used));
  return shown;
}

void NormsPanel::map(Ui& ui, ImVec2 room) {
  const Palette& c = colors(ui);
  const Shown what = shown_map(ui);
  const HeatmapData& data = what.cells;
  const Tap tap = choice_.tap;
  const float footer = ImGui::GetTextLineHeightWithSpacing() + px(ui, 14.0F);
  const float margin = ImGui::CalcTextSize("00").x + px(ui, 8.0F);
  const int used = std::max(what.used, 1);
  const int rows = std::max(data.height, 1);
  const ImVec2 start = ImGui::GetCursorScreenPos();
  const ImVec2 size{std::max(room.x - margin, 1.0F), std::max(room.y - footer, px(ui, 24.0F))};
  const ImVec2 min{start.x + margin, start.y};
  const ImVec2 max{min.x + size.x, min.y + size.y};
  ImDrawList* draw = ImGui::GetWindowDrawList();
  draw->AddRectFilled(min, max, c.plot);
  heatmap(ui, "norms/map", data, min, max,
          {static_cast<float>(used) / static_cast<float>(std::max(data.width, 1)), 1.0F});
  const float cell_w = size.x / static_cast<float>(used);
  const float cell_h = size.y / static_cast<float>(rows);
  {
    const FontScope font(ui.fonts.mono, 0.76F);
    const float line = ImGui::GetTextLineHeight();
    const int every = std::max(1, static_cast<int>(std::ceil(line / cell_h)));
    for (int r = 0; r < rows && rows > 1; r += every) {
      const std::string label = fmt::format("{}", r);
      draw->AddText({min.x - ImGui::CalcTextSize(label.c_str()).x - px(ui, 4.0F),
                     min.y + (static_cast<float>(r) + 0.5F) * cell_h - line / 2.0F},
                    c.quiet, label.c_str());
    }
  }
  const int shown = ui.shown_position();
  if (shown >= 0 && shown < what.n_tokens) {
    const int column = shown / what.bin;
    const float x = min.x + static_cast<float>(column) * cell_w;
    draw->AddRect({x, min.y}, {x + std::max(cell_w, 2.0F), max.y}, kMapAccent);
    if (rows > 1 && ui.selection.layer < rows) {
      const float y = min.y + static_cast<float>(ui.selection.layer) * cell_h;
      draw->AddRect({x, y}, {x + std::max(cell_w, 2.0F), y + cell_h}, kMapInk, 0.0F, 0,
                    px(ui, 2.0F));
    }
  }
  ImGui::SetCursorScreenPos(min);
  ImGui::InvisibleButton("map", size);
  ui.widgets.mark("norms/map");
  if (ImGui::IsItemHovered() && what.used > 0) {
    const ImVec2 mouse = ImGui::GetIO().MousePos;
    const int column = std::clamp(static_cast<int>((mouse.x - min.x) / cell_w), 0, used - 1);
    const int row = std::clamp(static_cast<int>((mouse.y - min.y) / cell_h), 0, rows - 1);
    const int position = std::min(column * what.bin, ui.snapshot->n_frames - 1);
    const int layer = capture::is_layer_tap(tap) ? row : -1;
    if (ImGui::IsItemClicked()) {
      select_position(ui, position);
      ui.selection.layer = std::max(layer, 0);
    }
    hover(ui, tap, layer, position);
  }
  ImGui::SetCursorScreenPos({min.x, max.y + px(ui, 5.0F)});
  color_bar(ui, "norms/bar", data, size.x,
            fmt::format("{}, {} · tokens 0 … {}",
                        kStatistics[static_cast<std::size_t>(choice_.statistic)],
                        kScales[ui.settings.norms_linear ? 1 : 0], what.n_tokens - 1));
}

void NormsPanel::norms(Ui& ui) {
  const Palette& c = colors(ui);
  const backend::DrawnStats* stats = view::drawn_stats(ui.drawn, *ui.snapshot);
  const int wanted = ui.selection.position < 0 ? -1 : ui.shown_position();
  int position = ui.shown_position();
  Plot plot;
  plot.id = "norms/profile";
  plot.log_y = true;
  plot.marks = true;
  const bool picture =
      stats != nullptr && !stats->profile.empty() && view::drawn_position(*ui.drawn, wanted) >= 0;
  if (picture) {
    position = stats->look.position;
    plot.drawn = ui.drawn->lines(stats->profile, 0, stats->profile.height, false, false);
  }
  ui.widgets.state("norms/profile_source", picture ? "picture" : "frames");
  const capture::TokenFrame* frame = ui.snapshot->frame(position);
  std::array<std::vector<float>, backend::kProfileTaps.size()> values;
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = view::norm_profile(frame, backend::kProfileTaps[i]);
  }
  const std::vector<float> before = view::norm_profile(pinned_.get(), Tap::kResidOut);
  std::vector<PlotLine> lines{PlotLine{"residual", values.data(), c.accent},
                              PlotLine{"attention", &values[1], c.warn},
                              PlotLine{"feed-forward", &values[2], c.good}};
  if (pinned_ != nullptr) {
    lines.push_back({"kept residual", &before, c.faint});
  }
  keep_row(ui);
  plot_over_layers(ui, plot, lines);
}

/// The button that keeps a step, and which one is kept.
void NormsPanel::keep_row(Ui& ui) {
  const Palette& c = colors(ui);
  const capture::TokenFrame* frame = ui.shown_frame();
  if (button(ui, "norms/pin", pinned_ == nullptr ? "Keep to compare" : "Forget kept",
             pinned_ == nullptr ? Look::kLink : Look::kOn,
             "Keep this step's norms, to see others beside them: as a line here, as a ratio under "
             "\"change since the kept step\"")) {
    if (pinned_ == nullptr && frame != nullptr) {
      pinned_ = std::make_shared<const capture::TokenFrame>(*frame);
      pinned_name_ = view::cut_text(token_label(ui, ui.shown_position()), 24);
    } else {
      pinned_.reset();
    }
  }
  if (pinned_ != nullptr) {
    ImGui::SameLine(0.0F, px(ui, 8.0F));
    ImGui::AlignTextToFramePadding();
    text(c.quiet, pinned_name_);
    ui.widgets.state("norms/pinned", pinned_name_);
  }
}

/// Two steps: how many times as large each part is as it was in the kept one.
void NormsPanel::change(Ui& ui) {
  const Palette& c = colors(ui);
  keep_row(ui);
  if (pinned_ == nullptr) {
    ImGui::PushTextWrapPos();
    text(c.quiet, "Keep a step, then go to another one: its norms are shown over those kept.");
    ImGui::PopTextWrapPos();
    return;
  }
  const auto ratio = [&](Tap tap) {
    return view::ratio_profile(view::norm_profile(ui.shown_frame(), tap),
                               view::norm_profile(pinned_.get(), tap));
  };
  const std::vector<float> residual = ratio(Tap::kResidOut);
  const std::vector<float> attention = ratio(Tap::kAttnOut);
  const std::vector<float> feed_forward = ratio(Tap::kFfnOut);
  const std::array lines{PlotLine{"residual", &residual, c.accent},
                         PlotLine{"attention", &attention, c.warn},
                         PlotLine{"feed-forward", &feed_forward, c.good}};
  float most = 0.0F;
  for (const float value : residual) {
    most = std::isfinite(value) ? std::max(most, std::fabs(std::log2(value))) : most;
  }
  ui.widgets.state("norms/change", fmt::format("{:.3f}", most));
  Plot plot;
  plot.id = "norms/change plot";
  plot.unit = "×";
  plot.log_y = true;
  plot_over_layers(ui, plot, lines);
}

void NormsPanel::shares(Ui& ui) {
  const Palette& c = colors(ui);
  const view::NormShares shares = view::norm_shares(ui.shown_frame());
  const std::array lines{PlotLine{"attention / residual", &shares.attention, c.warn},
                         PlotLine{"feed-forward / residual", &shares.feed_forward, c.good}};
  Plot plot;
  plot.id = "norms/shares";
  plot.from_zero = true;
  plot_over_layers(ui, plot, lines);
}

void NormsPanel::outliers(Ui& ui) {
  const Palette& c = colors(ui);
  const WantedDetail wanted = want_detail(ui, false);
  if (wanted.detail == nullptr || !wanted.detail->error.empty()) {
    ImGui::PushTextWrapPos();
    text(c.quiet, wanted.detail == nullptr ? "evaluating the token again…" : wanted.detail->error);
    ImGui::PopTextWrapPos();
    return;
  }
  const int layer = ui.selection.layer;
  const capture::FullTensor* residual =
      view::find_tensor(wanted.detail.get(), Tap::kResidOut, layer);
  if (residual == nullptr) {
    text(c.quiet, "this layer was not captured");
    return;
  }
  const auto channels = view::outlier_channels(residual->values, kOutlierFactor, 40);
  ui.widgets.state("norms/outliers", fmt::format("{}", channels.size()));
  text(c.quiet, fmt::format("layer {} · {} of {} channels at least {:.0f} × the median", layer,
                            channels.size(), residual->values.size(), kOutlierFactor));
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const float list = std::min(room.x * 0.5F, px(ui, 190.0F));
  if (ImGui::BeginChild("channels", {list, room.y})) {
    const FontScope font(ui.fonts.mono, 0.92F);
    for (const view::Channel& channel : channels) {
      const std::string label =
          fmt::format("{:>5} {:>9} {:>5.0f}×", channel.index,
                      view::number_text(double{channel.value}), channel.times);
      if (ImGui::Selectable(label.c_str(), channel.index == channel_)) {
        channel_ = channel.index;
      }
      ui.widgets.mark(fmt::format("norms/channel/{}", channel.index));
      tip("Show this channel over the layers");
    }
    if (channels.empty()) {
      text(c.quiet, "none stands out");
    }
  }
  ImGui::EndChild();
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  if (channel_ < 0 || static_cast<std::size_t>(channel_) >= residual->values.size()) {
    text(c.quiet, "Click a channel.");
    return;
  }
  if (ImGui::BeginChild("channel", {0.0F, room.y}, 0, ImGuiWindowFlags_NoScrollbar)) {
    std::vector<float> over;
    for (int l = 0; l < wanted.detail->pass.n_layers; ++l) {
      const capture::FullTensor* t = view::find_tensor(wanted.detail.get(), Tap::kResidOut, l);
      const auto at = static_cast<std::size_t>(channel_);
      over.push_back(t != nullptr && at < t->values.size() ? t->values[at] : std::nanf(""));
    }
    ui.widgets.state("norms/channel", fmt::format("{}", channel_));
    text(c.text, fmt::format("channel {} over the layers", channel_));
    if (button(ui, "norms/channel/open", "Open the tensor", Look::kLink,
               "Show the whole residual of this layer in the Tensors tab")) {
      ui.selection.tensor = view::tap_key(Tap::kResidOut, layer);
      ui.requests.show_tab = "tensors";
    }
    const std::array lines{PlotLine{"value", &over, c.accent}};
    Plot plot;
    plot.id = "norms/channel plot";
    plot.size = ImGui::GetContentRegionAvail();
    plot.x_name = "layer";
    plot.marked = layer;
    line_plot(ui, plot, lines);
  }
  ImGui::EndChild();
}

void NormsPanel::profile(Ui& ui) {
  section_title(ui, "One token");
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  combo(ui, "norms/side", "", side_, kSides.data(), static_cast<int>(kSides.size()));
  tip("What to see of the selected token");
  subtitle(ui, view::cut_text(token_label(ui, ui.shown_position()), 20));
  const std::string dropped = view::dropped_statistics(*ui.snapshot, ui.shown_position());
  ui.widgets.state("norms/dropped", dropped);
  if (!dropped.empty()) {
    ImGui::PushTextWrapPos();
    text(colors(ui).quiet, dropped);
    ImGui::PopTextWrapPos();
  }
  switch (side_) {
    case 0:
      norms(ui);
      break;
    case 1:
      shares(ui);
      break;
    case 3:
      change(ui);
      break;
    default:
      outliers(ui);
  }
}

std::string NormsPanel::csv(const Ui& ui) const {
  const session::Snapshot& s = *ui.snapshot;
  const Tap tap = kChoices[static_cast<std::size_t>(std::clamp(
                               ui.settings.norms_tap, 0, static_cast<int>(kChoices.size()) - 1))]
                      .tap;
  if (s.n_frames == 0) {
    return {};
  }
  std::string all = "position,id,layer,tap,l2,absmax,mean,non_finite,zeros\n";
  for (int p = 0; p < s.n_frames; ++p) {
    const capture::TokenFrame* frame = s.frame(p);
    const int layers = capture::is_layer_tap(tap) ? frame->n_layers : 0;
    for (int layer = layers > 0 ? 0 : -1; layer < layers; ++layer) {
      const capture::TapStats* stats = view::tap_stats(frame, layer, tap);
      if (stats != nullptr && stats->count > 0) {
        all += fmt::format("{},{},{},{},{:.9g},{:.9g},{:.9g},{},{}\n", p, frame->id, layer,
                           capture::tap_name(tap), stats->l2, stats->absmax, stats->mean,
                           stats->non_finite, stats->zeros);
      }
    }
  }
  return all;
}

/// Title and choices of the map.
void NormsPanel::titles(Ui& ui) {
  static constexpr auto kNames = [] {
    std::array<const char*, kChoices.size()> names{};
    for (std::size_t i = 0; i < names.size(); ++i) {
      names[i] = kChoices[i].text;
    }
    return names;
  }();
  section_title(ui, "Norm — layers × tokens");
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  combo(ui, "norms/tap", "", ui.settings.norms_tap, kNames.data(), static_cast<int>(kNames.size()));
  tip("Which tap's norm the map shows");
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  combo(ui, "norms/statistic", "", ui.settings.norms_statistic, kStatistics.data(),
        static_cast<int>(kStatistics.size()));
  tip("The Euclidean norm of the tensor's row, or its largest magnitude");
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  int scale = ui.settings.norms_linear ? 1 : 0;
  combo(ui, "norms/scale", "", scale, kScales.data(), static_cast<int>(kScales.size()));
  ui.settings.norms_linear = scale == 1;
  tip("How values become colours");
}

void NormsPanel::missing(Ui& ui) const {
  const auto& recording = ui.snapshot->recording;
  const bool missing = recording != nullptr && !recording->norms.empty();
  const std::string dropped = view::dropped_from_map(*ui.snapshot);
  ImGui::PushTextWrapPos();
  text(colors(ui).quiet, missing            ? recording->norms
                         : !dropped.empty() ? dropped
                                            : "This model has no such tap, or it was not captured. "
                                              "Choose another above.");
  ImGui::PopTextWrapPos();
  ui.widgets.state("norms/missing", missing ? recording->norms : "");
}

void NormsPanel::draw(Ui& ui) {
  if (ui.shown_frame() == nullptr) {
    empty_until_run(ui, "norms", "No norms yet",
                    "Every evaluated token adds a column: how large its hidden state is after each "
                    "layer. Open a model and press Step (F10).");
    return;
  }
  if (pinned_model_ != ui.snapshot->model.get()) {
    pinned_model_ = ui.snapshot->model.get();
    pinned_.reset();
    channel_ = -1;
  }
  int& choice = ui.settings.norms_tap;
  choice = std::clamp(choice, 0, static_cast<int>(kChoices.size()) - 1);
  int& statistic = ui.settings.norms_statistic;
  statistic = std::clamp(statistic, 0, backend::kNumStatistics - 1);
  choice_ = {kChoices[static_cast<std::size_t>(choice)].tap,
             static_cast<backend::Statistic>(statistic)};
  range_.update(*ui.snapshot, choice_);
  if (ui.pictures) {
    backend::StatsLook& look = ui.look.stats;
    look.tap = choice_.tap;
    look.statistic = choice_.statistic;
    look.profile = look.profile || side_ == 0;
    look.position = ui.selection.position < 0 ? -1 : ui.shown_position();
  }
  ui.widgets.state("norms/tap", std::string(capture::tap_name(choice_.tap)));
  ui.widgets.state("norms/statistic", kStatistics[static_cast<std::size_t>(statistic)]);
  ui.widgets.state("norms/scale", kScales[ui.settings.norms_linear ? 1 : 0]);
  ui.widgets.state("norms/range", fmt::format("{} … {}", view::number_text(double{range_.lo()}),
                                              view::number_text(double{range_.hi()})));
  const ImVec2 room = ImGui::GetContentRegionAvail();
  const bool both = room.x > px(ui, 640.0F);
  const float right = both ? std::clamp(room.x * 0.32F, px(ui, 240.0F), px(ui, 560.0F)) : 0.0F;
  const float gap = px(ui, 20.0F);
  if (ImGui::BeginChild("map side", {both ? room.x - right - gap : room.x, room.y}, 0,
                        ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse)) {
    titles(ui);
    if (range_.any()) {
      map(ui, ImGui::GetContentRegionAvail());
    } else {
      missing(ui);
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

// Logits panel: what the model would say next at the shown step, and how sure it was over all
// steps. UI thread.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "gui/panels/actions.h"
#include "gui/panels/lens.h"
#include "gui/panels/panels.h"
#include "gui/panels/plot.h"
#include "gui/panels/widgets.h"
#include "gui/view/export_text.h"
#include "gui/view/frames.h"
#include "gui/view/history_text.h"
#include "gui/view/logits_view.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

class LogitsPanel final : public Panel {
 public:
  [[nodiscard]] const char* id() const override { return "logits"; }
  [[nodiscard]] const char* title() const override { return "Next token"; }
  void draw(Ui& ui) override;

 private:
  /// Columns of the list, as window x.
  struct Columns {
    float bar, bar_end, percent, logit, moved;
  };
  /// `texture`: the bars' strokes, one row each; 0: they are drawn from the values.
  void bar(Ui& ui, const view::LogitBar& bar, const Columns& at, const std::string& name,
           TextureHandle texture = 0);
  TextureHandle strokes(Ui& ui, const view::LogitBars& bars, const Columns& at, bool picture);
  static void padded(Ui& ui, const view::LogitBars& bars, const Columns& at);
  void confirm(Ui& ui);
  /// `below`: height that the plots leave for what follows.
  void series(Ui& ui, float below);
  [[nodiscard]] std::string csv(const Ui& ui) const override;

  view::LogitSeries series_;
  std::vector<float> bar_cells_;
  int position_ = -1;  ///< whose distribution is listed
  std::int32_t branch_id_ = -1;
  int branch_position_ = -1;
};

/// Where the bars' tracks begin and end, in whole pixels of the window: their strokes are an image.
struct Track {
  float left, right;
};
Track track_of(float bar, float bar_end, float window_left) {
  const float left = std::round(window_left + bar);
  return {left, std::max(std::round(window_left + bar_end), left + 1.0F)};
}

/// The bars as the engine drew them or as the frames have them, in the panel's colours.
TextureHandle LogitsPanel::strokes(Ui& ui, const view::LogitBars& bars, const Columns& at,
                                   bool picture) {
  if (ui.heatmaps == nullptr || bars.bars.empty()) {
    return 0;
  }
  const Palette& c = colors(ui);
  const float window_left = ImGui::GetCursorScreenPos().x - ImGui::GetCursorPosX();
  const Track track = track_of(at.bar, at.bar_end, window_left);
  ChartData chart;
  chart.kind = ChartData::Kind::kBars;
  chart.source = picture ? ui.drawn->lines(ui.drawn->frame.stats.bars, 0, 2, false, false)
                         : view::bar_cells(bars, bar_cells_);
  chart.width = static_cast<int>(track.right - track.left);
  chart.height = chart.source.cells;
  chart.thickness = px(ui, 2.0F);
  chart.colors = {c.track, mix(c.track, c.quiet, 0.45F), mix(c.accent_fill, c.accent, 0.35F), 0};
  return ui.heatmaps->chart("logits/bars", chart);
}

void LogitsPanel::bar(Ui& ui, const view::LogitBar& bar, const Columns& at, const std::string& name,
                      TextureHandle texture) {
  const Palette& c = colors(ui);
  const float height = ImGui::GetTextLineHeight() + px(ui, 7.0F);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const float left = min.x - ImGui::GetCursorPosX();
  const float width = ImGui::GetContentRegionAvail().x;
  ImGui::PushID(name.c_str());
  const bool pressed = ImGui::InvisibleButton("bar", {width, height});
  ImGui::PopID();
  if (pressed) {
    branch_id_ = bar.id;
    branch_position_ = position_;
    ImGui::OpenPopup("branch");
  }
  ui.widgets.mark(name);
  const bool hovered = ImGui::IsItemHovered();
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const float text_y = min.y + px(ui, 3.5F);
  if (hovered) {
    draw->AddRectFilled(min, {min.x + width, min.y + height}, c.card, px(ui, 3.0F));
  }
  const ImU32 ink = bar.chosen ? c.accent : c.text;
  const std::string token = view::cut_text(view::quoted_token(tokenizer_of(ui), bar.id), 40);
  draw->AddText({min.x, text_y}, ink, fitted(token, left + at.bar - px(ui, 6.0F) - min.x).c_str());
  const Track track = track_of(at.bar, at.bar_end, left);
  const ImVec2 track_min{track.left, min.y + px(ui, 3.0F)};
  const ImVec2 track_max{track.right, min.y + height - px(ui, 3.0F)};
  if (texture != 0) {
    // One row of texels, whatever the height.
    const float v = (static_cast<float>(bar.rank) + 0.5F) / static_cast<float>(capture::kTopTokens);
    draw->AddImageRounded(ImTextureRef(static_cast<ImTextureID>(texture)), track_min, track_max,
                          {0.0F, v}, {1.0F, v}, IM_COL32_WHITE, px(ui, 2.0F));
  } else {
    draw->AddRectFilled(track_min, track_max, c.track, px(ui, 2.0F));
    if (bar.length > 0.0F) {
      const float end =
          track_min.x + std::max((track_max.x - track_min.x) * bar.length, px(ui, 2.0F));
      draw->AddRectFilled(
          track_min, {end, track_max.y},
          bar.chosen ? mix(c.accent_fill, c.accent, 0.35F) : mix(c.track, c.quiet, 0.45F),
          px(ui, 2.0F));
    }
  }
  const auto right_text = [&](float x, ImU32 color, const std::string& value) {
    draw->AddText({left + x - ImGui::CalcTextSize(value.c_str()).x, text_y}, color, value.c_str());
  };
  right_text(at.percent, c.text, view::percent_text(double{bar.prob}));
  right_text(at.logit, c.quiet,
             std::isfinite(bar.logit) ? fmt::format("{:.2f}", bar.logit)
                                      : view::number_text(double{bar.logit}));
  if (at.moved > 0.0F && bar.moved && *bar.moved != 0) {
    right_text(at.moved, *bar.moved > 0 ? c.good : c.warn,
               fmt::format("{}{}", *bar.moved > 0 ? "▲" : "▼", std::abs(*bar.moved)));
  } else if (at.moved > 0.0F && bar.was_listed && !bar.moved) {
    right_text(at.moved, c.faint, "new");
  }
  const std::string before =
      bar.moved ? fmt::format(", {} at the step before", bar.rank + 1 + *bar.moved) : std::string();
  tip(
      fmt::format("{}  id {}\nrank {}{}\nprobability {:.3g}, logit {:.4f}{}\nClick to go on with "
                  "this token instead",
                  token, bar.id, bar.rank + 1, before, bar.prob, bar.logit,
                  bar.chosen ? "\nthe token that follows here" : ""));
}

void LogitsPanel::padded(Ui& ui, const view::LogitBars& bars, const Columns& at) {
  if (bars.best_padded.id < 0) {
    return;
  }
  const Palette& c = colors(ui);
  const ImVec2 min = ImGui::GetCursorScreenPos();
  const float left = min.x - ImGui::GetCursorPosX();
  const float height = ImGui::GetTextLineHeight() + px(ui, 7.0F);
  ImGui::Dummy({ImGui::GetContentRegionAvail().x, height});
  ui.widgets.mark("logits/padded");
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const float y = min.y + px(ui, 3.5F);
  draw->AddText({min.x, y}, c.quiet, fmt::format("[PAD {}]", bars.best_padded.id).c_str());
  const auto right_text = [&](float x, ImU32 color, const std::string& value) {
    draw->AddText({left + x - ImGui::CalcTextSize(value.c_str()).x, y}, color, value.c_str());
  };
  right_text(at.percent, c.warn, "masked");
  right_text(at.logit, bars.padded_wins ? c.error : c.quiet,
             fmt::format("{:.2f}", bars.best_padded.logit));
  tip("The best of the padded rows: rows of the output head that no token uses. They are never "
      "sampled. If this one beats every real token, a sampler that scans them would pick it.");
  if (bars.padded_wins) {
    text(c.warn, "⚠ a padded row beats every real token");
    ui.widgets.mark("logits/padded/wins");
  }
}

void LogitsPanel::confirm(Ui& ui) {
  const FontScope font(ui.fonts.regular);
  if (!begin_popup("branch")) {
    return;
  }
  const Palette& c = colors(ui);
  const session::Snapshot& s = *ui.snapshot;
  const int dropped = std::max(s.n_frames - 1 - branch_position_, 0);
  text(c.text, fmt::format("Go on with {}", view::quoted_token(tokenizer_of(ui), branch_id_)));
  text(c.quiet, fmt::format("after {}{}", token_label(ui, branch_position_),
                            dropped > 0 ? fmt::format("; {} later tokens become a branch", dropped)
                                        : std::string()));
  ImGui::Dummy({0.0F, px(ui, 4.0F)});
  if (button(ui, "logits/branch/confirm", "Branch here", Look::kPrimary)) {
    branch_after(ui, branch_position_, branch_id_);
    ImGui::CloseCurrentPopup();
  }
  ImGui::SameLine();
  if (button(ui, "logits/branch/cancel", "Cancel")) {
    ImGui::CloseCurrentPopup();
  }
  ImGui::EndPopup();
}

std::string LogitsPanel::csv(const Ui& ui) const {
  const view::LogitBars bars = view::logit_bars(*ui.snapshot, ui.shown_position(), 32);
  std::string all = "rank,id,token,logit,probability,next\n";
  for (const view::LogitBar& bar : bars.bars) {
    all += view::csv_line({fmt::format("{}", bar.rank + 1), fmt::format("{}", bar.id),
                           view::quoted_token(tokenizer_of(ui), bar.id),
                           fmt::format("{:.9g}", bar.logit), fmt::format("{:.9g}", bar.prob),
                           bar.chosen ? "yes" : "no"});
  }
  return bars.bars.empty() ? std::string() : all;
}

void LogitsPanel::series(Ui& ui, float below) {
  const Palette& c = colors(ui);
  series_.update(*ui.snapshot);
  const float room = ImGui::GetContentRegionAvail().y - below;
  const float titles =
      2.0F * (ImGui::GetFrameHeightWithSpacing() + ImGui::GetTextLineHeightWithSpacing());
  const float height = std::clamp((room - titles) / 2.0F, px(ui, 48.0F), px(ui, 120.0F));
  const auto words = [&ui](int i) {
    return view::quoted_token(tokenizer_of(ui), view::token_id(*ui.snapshot, i));
  };
  const auto pick = [&ui](int index) {
    if (index >= 0 && ImGui::IsMouseClicked(ImGuiMouseButton_Left)) {
      select_position(ui, index);
    }
  };
  section_title(ui, "Entropy");
  subtitle(ui, "bit, over all steps");
  const std::array entropy{PlotLine{"entropy", &series_.entropy, c.accent}};
  const backend::DrawnStats* stats = view::drawn_stats(ui.drawn, *ui.snapshot);
  const bool picture = stats != nullptr && !stats->series.empty();
  ui.widgets.state("logits/series_source", picture ? "picture" : "frames");
  Plot plot;
  plot.marks = true;
  if (picture) {
    plot.drawn = ui.drawn->lines(stats->series, 0, 1, true, stats->series_bin > 1);
  }
  plot.lo = series_.entropy_range.lo;
  plot.hi = series_.entropy_range.hi;
  plot.id = "logits/entropy";
  plot.size = {ImGui::GetContentRegionAvail().x, height};
  plot.x_name = "step";
  plot.unit = "bit";
  plot.from_zero = true;
  plot.marked = ui.shown_position();
  plot.x_text = words;
  pick(line_plot(ui, plot, entropy));

  section_title(ui, "Logits");
  ImGui::SameLine(0.0F, px(ui, 10.0F));
  // As the engine draws them.
  const std::array range{PlotLine{"min", &series_.min, c.accent},
                         PlotLine{"mean", &series_.mean, c.quiet},
                         PlotLine{"max", &series_.max, c.warn}};
  if (picture) {
    plot.drawn = ui.drawn->lines(stats->series, 2, 3, true, stats->series_bin > 1);
  }
  plot.lo = series_.logit_range.lo;
  plot.hi = series_.logit_range.hi;
  plot_legend(ui, range);
  plot.id = "logits/range";
  plot.unit = "";
  plot.from_zero = false;
  pick(line_plot(ui, plot, range));
}

void LogitsPanel::draw(Ui& ui) {
  const Palette& c = colors(ui);
  int position = ui.shown_position();
  int n_tokens = ui.snapshot->n_frames;
  const int wanted = ui.selection.position < 0 ? -1 : position;
  if (ui.pictures && position >= 0) {
    ui.look.stats.logits = true;
    ui.look.stats.position = wanted;
  }
  const backend::DrawnStats* stats = view::drawn_stats(ui.drawn, *ui.snapshot);
  const bool picture =
      stats != nullptr && !stats->bars.empty() && view::drawn_position(*ui.drawn, wanted) >= 0;
  if (picture) {  // numbers and bars of the same moment
    position = stats->look.position;
    n_tokens = ui.drawn->frame.n_tokens;
  }
  position_ = position;
  const view::LogitBars bars = view::logit_bars(*ui.snapshot, position, 32, n_tokens);
  ui.widgets.state("logits/bars_source", picture ? "picture" : "frames");
  section_title(ui, "Next token");
  if (position >= 0) {
    subtitle(ui, "after " + view::cut_text(token_label(ui, position), 26));
  }
  if (ui.snapshot->model == nullptr || position < 0) {
    empty_until_run(
        ui, "logits", "No logits yet",
        ui.snapshot->model == nullptr
            ? "With a model open, the likeliest next tokens stand here at every step."
            : "Step (F10) evaluates the prompt; the likeliest next tokens then stand here.");
    return;
  }
  const FontScope font(ui.fonts.mono);
  if (!bars.bars.empty()) {
    ui.widgets.state("logits/top1", view::token_bytes(tokenizer_of(ui), bars.bars.front().id));
    ui.widgets.state("logits/top1_id", fmt::format("{}", bars.bars.front().id));
    ui.widgets.state("logits/top1_prob", fmt::format("{:.4f}", bars.bars.front().prob));
    ui.widgets.state("logits/entropy_bits", fmt::format("{:.3f}", bars.entropy));
  }
  const float row = ImGui::GetTextLineHeight() + px(ui, 7.0F);
  const float room = ImGui::GetContentRegionAvail().y;
  // The plots below keep at least what makes them readable; the list takes what is left.
  const float plots = px(ui, 210.0F);
  const float line = ImGui::GetTextLineHeightWithSpacing();
  const float lens =
      ui.settings.lens ? std::clamp(room * 0.4F, px(ui, 170.0F), px(ui, 420.0F)) : line;
  const int rows = std::clamp(static_cast<int>((room - plots - lens) / row) - 2, 5, 16);
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {ImGui::GetStyle().ItemSpacing.x, 0.0F});
  const float right = right_edge();
  Columns at{};
  // A narrow panel shows the bars rather than the change of rank, which hovering tells too.
  const bool with_moved = ImGui::GetContentRegionAvail().x > px(ui, 250.0F);
  at.moved = with_moved ? right : 0.0F;
  at.logit = with_moved ? right - ImGui::CalcTextSize("▲00").x - px(ui, 6.0F) : right;
  at.percent = at.logit - ImGui::CalcTextSize("-00.00").x - px(ui, 8.0F);
  at.bar_end = at.percent - ImGui::CalcTextSize("<0.01%").x - px(ui, 8.0F);
  at.bar = ImGui::GetCursorPosX() + std::clamp(right * 0.30F, px(ui, 66.0F), px(ui, 170.0F));
  at.bar_end = std::max(at.bar_end, at.bar + px(ui, 4.0F));
  if (!bars.known) {
    ImGui::PushTextWrapPos();
    const auto& recording = ui.snapshot->recording;
    const bool missing = recording != nullptr && !recording->logits.empty();
    text(c.quiet, missing ? recording->logits
                          : "No distribution was computed after this prompt token: only the last "
                            "token of a prompt needs one.");
    ui.widgets.state("logits/missing", missing ? recording->logits : "");
    ImGui::PopTextWrapPos();
    if (button(ui, "logits/newest", "Show the newest step", Look::kLink)) {
      select_position(ui, -1);
    }
  }
  const bool few = bars.known && bars.bars.size() <= 1;
  const std::string dropped =
      few ? view::dropped_statistics(*ui.snapshot, position) : std::string();
  ui.widgets.state("logits/dropped", dropped);
  if (!dropped.empty()) {
    ImGui::PushTextWrapPos();
    text(c.quiet, "Only the likeliest candidate is left. " + dropped);
    ImGui::PopTextWrapPos();
  }
  const TextureHandle texture = strokes(ui, bars, at, picture);
  for (std::size_t i = 0; i < bars.bars.size() && static_cast<int>(i) < rows; ++i) {
    bar(ui, bars.bars[i], at, fmt::format("logits/bar/{}", i), texture);
  }
  for (std::size_t i = static_cast<std::size_t>(rows); i < bars.bars.size(); ++i) {
    if (bars.bars[i].chosen) {
      bar(ui, bars.bars[i], at, fmt::format("logits/bar/{}", i), texture);
    }
  }
  if (bars.chosen_below) {
    text(c.quiet, fmt::format("… rank {}", bars.chosen_below->rank + 1));
    bar(ui, *bars.chosen_below, at, "logits/chosen");
  }
  padded(ui, bars, at);
  if (bars.non_finite > 0) {
    text(c.error, fmt::format("{} logits are NaN or infinite", bars.non_finite));
    ui.widgets.mark("logits/non_finite");
  }
  confirm(ui);
  ImGui::PopStyleVar();
  ImGui::Dummy({0.0F, px(ui, 2.0F)});
  const FontScope usual(ui.fonts.regular);
  series(ui, lens);
  if (ImGui::BeginChild("lens", {0.0F, std::max(ImGui::GetContentRegionAvail().y, lens)}, 0,
                        ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse)) {
    draw_lens(ui);
  }
  ImGui::EndChild();
}

}  // namespace

std::unique_ptr<Panel> make_logits() { return std::make_unique<LogitsPanel>(); }

}  // namespace layerscope::gui

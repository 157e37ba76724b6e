#include "gui/panels/lens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "gui/panels/inspect.h"
#include "gui/panels/plot.h"
#include "gui/panels/widgets.h"
#include "gui/view/lens_view.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

void row_tip(Ui& ui, const view::LensView::Row& row) {
  const FontScope font(ui.fonts.regular);
  if (!ImGui::IsItemHovered() || !ImGui::BeginTooltip()) {
    return;
  }
  text(colors(ui).text,
       row.row->layer < 0 ? "after the embedding" : fmt::format("after layer {}", row.row->layer));
  for (const capture::TopToken& token : row.row->top) {
    const std::string name = view::cut_text(view::quoted_token(tokenizer_of(ui), token.id), 24);
    fact(ui, name,
         fmt::format("{:>8}  logit {:.2f}", view::percent_text(double{token.prob}), token.logit));
  }
  fact(ui, "entropy", fmt::format("{:.2f} bit", row.row->entropy));
  fact(ui, "final token",
       fmt::format("rank {}, {}", row.row->final_rank + 1,
                   view::percent_text(double{row.row->final_prob})));
  ImGui::EndTooltip();
}

void list(Ui& ui, const view::LensView& lens) {
  const Palette& c = colors(ui);
  const FontScope font(ui.fonts.mono, 0.94F);
  if (!ImGui::BeginChild("lens list", {0.0F, 0.0F})) {
    ImGui::EndChild();
    return;
  }
  const float height = ImGui::GetTextLineHeight() + px(ui, 4.0F);
  const float width = ImGui::GetContentRegionAvail().x;
  const float name_x = ImGui::CalcTextSize("000").x + px(ui, 10.0F);
  const float percent = ImGui::CalcTextSize("100.0 %").x;
  ImDrawList* draw = ImGui::GetWindowDrawList();
  for (std::size_t i = 0; i < lens.rows.size(); ++i) {
    const view::LensView::Row& row = lens.rows[i];
    if (row.row->top.empty()) {
      continue;
    }
    const capture::TopToken& best = row.row->top.front();
    const ImVec2 min = ImGui::GetCursorScreenPos();
    ImGui::PushID(static_cast<int>(i));
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {0.0F, 0.0F});
    if (ImGui::InvisibleButton("row", {std::max(width, 1.0F), height}) && row.row->layer >= 0) {
      ui.selection.layer = row.row->layer;
    }
    ImGui::PopStyleVar();
    ImGui::PopID();
    ui.widgets.mark(fmt::format("lens/row/{}", row.layer));
    const bool chosen = row.row->layer == ui.selection.layer;
    if (ImGui::IsItemHovered() || chosen) {
      draw->AddRectFilled(min, {min.x + width, min.y + height},
                          ImGui::IsItemHovered() ? c.hover : c.card, px(ui, 2.0F));
    }
    // The bar is the probability of the layer's own first token.
    draw->AddRectFilled(
        {min.x + name_x, min.y + height - px(ui, 2.0F)},
        {min.x + name_x + (width - name_x) * std::clamp(best.prob, 0.0F, 1.0F), min.y + height},
        row.agrees ? mix(c.panel, c.accent, 0.6F) : mix(c.panel, c.quiet, 0.4F));
    const float y = min.y + px(ui, 1.0F);
    draw->AddText({min.x, y}, c.quiet, row.layer.c_str());
    const std::string name = view::cut_text(view::quoted_token(tokenizer_of(ui), best.id), 32);
    draw->AddText({min.x + name_x, y}, row.agrees ? c.accent : c.text,
                  fitted(name, width - percent - px(ui, 6.0F) - name_x).c_str());
    const std::string value = view::percent_text(double{best.prob});
    draw->AddText({min.x + width - ImGui::CalcTextSize(value.c_str()).x, y}, c.text, value.c_str());
    row_tip(ui, row);
  }
  ImGui::EndChild();
}

}  // namespace

void draw_lens(Ui& ui) {
  const Palette& c = colors(ui);
  section_title(ui, "Logit lens");
  ImGui::SameLine(0.0F, px(ui, 8.0F));
  if (button(ui, "lens/toggle", ui.settings.lens ? "hide" : "show", Look::kLink,
             "What every layer would answer: final norm and output head applied to the residual "
             "after each layer, all layers in one product")) {
    ui.settings.lens = !ui.settings.lens;
  }
  if (!ui.settings.lens || ui.shown_frame() == nullptr) {
    return;
  }
  const WantedDetail wanted = want_detail(ui, true);
  const std::string problem = wanted.detail == nullptr        ? ""
                              : !wanted.detail->error.empty() ? wanted.detail->error
                                                              : wanted.detail->lens_error;
  if (wanted.detail == nullptr || (wanted.detail->lens.empty() && problem.empty())) {
    text(c.quiet, "evaluating the token again…");
    return;
  }
  if (wanted.detail->lens.empty() || !wanted.detail->error.empty()) {
    ImGui::PushTextWrapPos();
    text(c.quiet, problem);
    ImGui::PopTextWrapPos();
    ui.widgets.state("lens/error", problem);
    return;
  }
  const view::LensView lens = view::lens_view(
      *wanted.detail, ui.snapshot->model != nullptr ? ui.snapshot->model->vocab_rows : 0);
  const auto& answer = wanted.detail->lens.back().top;
  const std::string name =
      answer.empty() ? "—" : view::quoted_token(tokenizer_of(ui), answer.front().id);
  ui.widgets.state("lens/position", fmt::format("{}", wanted.detail->position));
  ui.widgets.state("lens/fresh", wanted.fresh ? "yes" : "no");
  ui.widgets.state("lens/top1",
                   answer.empty() ? "" : view::token_bytes(tokenizer_of(ui), answer.front().id));
  ui.widgets.state("lens/settled", fmt::format("{}", lens.settled));
  {
    const FontScope small(nullptr, 0.86F);
    const std::string settled =
        lens.settled < 0 ? "from the embedding on" : fmt::format("from layer {} on", lens.settled);
    text(wanted.fresh ? c.quiet : c.faint,
         view::cut_text(fmt::format("{} {} · {:.1f} ms", name, settled,
                                    wanted.detail->eval_ms + wanted.detail->lens_ms),
                        72));
    tip(fmt::format("All layers from there on put {} first.\n{}", name, lens.cost));
    ui.widgets.mark("lens/cost");
    ui.widgets.state("lens/cost", lens.cost);
  }
  const float room = ImGui::GetContentRegionAvail().y;
  if (room > px(ui, 150.0F)) {
    const std::array lines{PlotLine{"p(final)", &lens.probability, c.accent}};
    Plot plot;
    plot.id = "lens/plot";
    plot.size = {ImGui::GetContentRegionAvail().x, std::min(px(ui, 54.0F), room * 0.25F)};
    plot.x_name = "row";
    plot.from_zero = true;
    plot.marked = ui.selection.layer + 1;
    plot.x_text = [](int i) {
      return i == 0 ? std::string("embedding") : fmt::format("layer {}", i - 1);
    };
    const int index = line_plot(ui, plot, lines);
    if (index > 0 && ImGui::IsMouseClicked(ImGuiMouseButton_Left)) {
      ui.selection.layer = index - 1;
    }
  }
  list(ui, lens);
}

}  // namespace layerscope::gui

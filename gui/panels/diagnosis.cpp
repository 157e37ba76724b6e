#include "gui/panels/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "gui/panels/actions.h"
#include "gui/panels/widgets.h"

namespace layerscope::gui {

using diagnose::Severity;

namespace {

/// Running at once would hide the refusal of a fault, and go on with the text that is there.
void follow_request(Ui& ui) {
  FaultRequest& request = ui.fault_request;
  const session::Snapshot& s = *ui.snapshot;
  if (!request.waiting) {
    return;
  }
  if (s.error_serial != request.error_serial) {
    request.waiting = false;
    request.error = s.error;
  } else if (s.session_serial != request.session_serial && s.faults == request.wanted) {
    request.waiting = false;
    if (s.n_prompt() > 0 && request.tokens > 0) {
      ui.send(session::Run{request.tokens});
    } else if (s.n_prompt() > 0 && request.evaluate) {
      ui.send(session::Step{0});
    }
    select_position(ui, -1);
  }
}

}  // namespace

void follow_diagnosis(Ui& ui, TabTitles& titles) {
  const session::Snapshot& s = *ui.snapshot;
  follow_request(ui);
  ui.badges.update(s);
  ui.healthy.update(s);
  titles.findings = s.findings.empty() ? "Findings" : fmt::format("Findings {}", s.findings.size());
  titles.faults = view::fault_count_text(s.faults.size());
  WidgetRegistry& widgets = ui.widgets;
  widgets.state("findings/count", fmt::format("{}", s.findings.size()));
  widgets.state("findings/checks", fmt::format("{}", s.checks_run));
  widgets.state("findings/deep", is_diagnosing(ui) ? "running" : s.diagnosed ? "done" : "not run");
  const auto order = view::finding_order(s.findings);
  widgets.state("findings/worst",
                order.empty() ? "none" : view::severity_word(s.findings[order.front()].severity));
  // More than that nobody asks for; two hundred findings must not cost each frame.
  constexpr std::size_t kStates = 8;
  for (std::size_t i = 0; i < std::min(order.size(), kStates); ++i) {
    const diagnose::Finding& f = s.findings[order[i]];
    widgets.state(fmt::format("findings/{}/cause", i), f.cause);
    widgets.state(fmt::format("findings/{}/check", i), f.check);
    widgets.state(fmt::format("findings/{}/where", i), view::where_text(f));
  }
  widgets.state("faults/active", fmt::format("{}", fmt::join(s.faults, " ")));
}

bool is_diagnosing(const Ui& ui) {
  return ui.session != nullptr && ui.snapshot->state == session::State::kEvaluating &&
         std::string_view(ui.session->progress().what.load()) == "diagnosing";
}

ImU32 severity_color(const Ui& ui, Severity severity) {
  const Palette& c = colors(ui);
  switch (severity) {
    case Severity::kInfo:
      return c.accent;
    case Severity::kWarning:
      return c.warn;
    case Severity::kError:
      return c.error;
  }
  return c.quiet;
}

void draw_badge(Ui& ui, std::string_view id, ImVec2 centre, float radius, Severity severity) {
  const Palette& c = colors(ui);
  const ImU32 color = severity_color(ui, severity);
  // Signs are cut out of the mark: dark on the light colours of the dark theme and vice versa.
  const ImU32 ink = c.panel;
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const float stroke = std::max(1.0F, radius * 0.3F);
  const auto sign = [&](float top, float bottom, ImU32 in) {
    draw->AddLine({centre.x, centre.y + radius * top}, {centre.x, centre.y + radius * bottom}, in,
                  stroke);
    const float dot = severity == Severity::kInfo ? top - 0.4F : bottom + 0.36F;
    draw->AddRectFilled({centre.x - stroke * 0.5F, centre.y + radius * dot - stroke * 0.5F},
                        {centre.x + stroke * 0.5F, centre.y + radius * dot + stroke * 0.5F}, in);
  };
  switch (severity) {
    case Severity::kError:
      draw->AddCircleFilled(centre, radius + 1.0F, ink);
      draw->AddCircleFilled(centre, radius, color);
      sign(-0.6F, 0.15F, ink);
      break;
    case Severity::kWarning:
      draw->AddTriangleFilled({centre.x, centre.y - radius * 1.15F},
                              {centre.x + radius * 1.1F, centre.y + radius * 0.85F},
                              {centre.x - radius * 1.1F, centre.y + radius * 0.85F}, color);
      sign(-0.5F, 0.2F, ink);
      break;
    case Severity::kInfo:
      draw->AddCircleFilled(centre, radius, ink);
      draw->AddCircle(centre, radius, color, 0, std::max(1.0F, radius * 0.25F));
      sign(-0.1F, 0.55F, color);
      break;
  }
  if (!id.empty()) {
    ui.widgets.mark_rect(id, {centre.x - radius, centre.y - radius},
                         {centre.x + radius, centre.y + radius});
  }
}

void badge_line(const Ui& ui, const view::Badge* badge) {
  if (badge == nullptr) {
    return;
  }
  ImGui::PushTextWrapPos(ImGui::GetFontSize() * 28.0F);
  text(severity_color(ui, badge->severity), view::badge_text(*badge, ui.snapshot->findings));
  ImGui::PopTextWrapPos();
}

void go_to(Ui& ui, const diagnose::Finding& finding) {
  const view::Target target = view::target_of(finding);
  if (target.position >= 0 && target.position < ui.snapshot->n_frames) {
    select_position(ui, target.position);
  }
  if (target.layer >= 0) {
    ui.selection.layer = target.layer;
  }
  if (target.head >= 0) {
    ui.selection.head = target.head;
  }
  if (target.layer >= 0 || target.head >= 0) {
    ui.selection.head_open = true;
  }
  ui.selection.key_position = target.key;
  if (!finding.tensor.empty()) {
    ui.selection.tensor = finding.tensor;
  }
}

void set_faults(Ui& ui, std::vector<std::string> faults) {
  if (!has_model(ui)) {
    return;
  }
  const session::Snapshot& s = *ui.snapshot;
  FaultRequest& request = ui.fault_request;
  request = {true, faults, s.n_generated, s.n_frames > 0, s.session_serial, s.error_serial, {}};
  if (ui.healthy.comparable(s)) {
    request.tokens = std::max(request.tokens, static_cast<int>(ui.healthy.ids().size()));
  }
  if (is_busy(ui)) {
    ui.send(session::Stop{});
  }
  ui.send(session::SetFaults{std::move(faults)});
}

}  // namespace layerscope::gui

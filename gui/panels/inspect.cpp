#include "gui/panels/inspect.h"

#include "gui/panels/actions.h"

namespace layerscope::gui {
namespace {

constexpr double kWhileRunning = 0.3;  ///< seconds between two requests

}  // namespace

WantedDetail want_detail(Ui& ui, bool lens) {
  const session::Snapshot& s = *ui.snapshot;
  const capture::TokenFrame* frame = ui.shown_frame();
  WantedDetail result;
  result.detail = s.token_detail;
  if (frame == nullptr || s.model == nullptr) {
    return result;
  }
  const session::TokenDetail* detail = s.token_detail.get();
  const bool same = detail != nullptr && detail->position == ui.shown_position() &&
                    (detail->serial == frame->serial || !detail->error.empty());
  result.fresh = same && (!lens || !detail->lens.empty() || !detail->lens_error.empty() ||
                          !detail->error.empty());
  if (result.fresh) {
    return result;
  }
  DetailRequest& asked = ui.detail_request;
  const double now = ImGui::GetTime();
  const bool waiting = asked.serial == frame->serial && (asked.lens || !lens);
  const bool soon = is_busy(ui) && now - asked.at < kWhileRunning;
  if (!waiting && !soon) {
    asked = {frame->serial, lens, now};
    ui.send(session::InspectToken{ui.shown_position(), lens ? kLensTop : 0});
  } else if (soon) {
    ui.requests.redraw = true;
  }
  return result;
}

}  // namespace layerscope::gui

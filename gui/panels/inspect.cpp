#include "gui/panels/inspect.h"

#include <algorithm>
#include <chrono>

#include "gui/panels/actions.h"

namespace layerscope::gui {
namespace {

constexpr double kWhileRunning = 0.3;  ///< seconds between two requests, at least
/// Looking at the newest token takes at most this share of a run.
constexpr double kMostShare = 1.0 / 300.0;

/// Frames of a run without a window count as 1/60 s each, however many there are.
double real_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds between two requests while tokens come: more where an answer is dear. A token that was
/// picked is asked for at once, for that happens once.
double spacing(const Ui& ui, const session::TokenDetail* last) {
  if (ui.selection.position >= 0 || last == nullptr) {
    return kWhileRunning;
  }
  return std::max(kWhileRunning, (last->eval_ms + last->lens_ms) * 1e-3 / kMostShare);
}

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
  const double now = real_seconds();
  const bool waiting = asked.serial == frame->serial && (asked.lens || !lens);
  const bool soon = is_busy(ui) && now - asked.at < spacing(ui, detail);
  if (!waiting && !soon) {
    asked = {frame->serial, lens, now};
    ui.send(session::InspectToken{ui.shown_position(), lens ? kLensTop : 0});
  } else if (soon) {
    ui.requests.redraw = true;
  }
  return result;
}

}  // namespace layerscope::gui

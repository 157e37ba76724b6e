#include "engine/session/session.h"

#include <utility>

#include "engine/session/worker.h"

namespace layerscope::session {

const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kNone:
      return "";
    case StopReason::kMaxTokens:
      return "max_tokens";
    case StopReason::kEos:
      return "eos";
    case StopReason::kStop:
      return "stop";
    case StopReason::kCancelled:
      return "cancelled";
    case StopReason::kContextFull:
      return "context_full";
  }
  return "";
}

Session::Session(SessionOptions options) : worker_(std::make_unique<Worker>(std::move(options))) {}
Session::~Session() = default;
void Session::send(Command command) { worker_->send(std::move(command)); }
std::shared_ptr<const Snapshot> Session::snapshot() const { return worker_->snapshot(); }
const Progress& Session::progress() const { return worker_->progress(); }
bool Session::idle() const { return worker_->idle(); }
void Session::set_draw_sink(const std::shared_ptr<backend::DrawSink>& sink) {
  worker_->set_draw_sink(sink);
}
void Session::look(const backend::DrawRequest& request) { worker_->look(request); }
bool Session::set_pace(double tokens_per_s) {
  worker_->set_pace(tokens_per_s);
  return true;
}
void Session::wait_idle() const { worker_->wait_idle(); }

}  // namespace layerscope::session

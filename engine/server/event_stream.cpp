#include "engine/server/event_stream.h"

#include <algorithm>

namespace layerscope::server {

using nlohmann::ordered_json;

std::string event_text(std::string_view name, const ordered_json& data) {
  std::string text = "event: ";
  text += name;
  text += "\ndata: ";
  text += data.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  return text + "\n\n";
}

bool EventStream::write(std::string_view name, const ordered_json& data) {
  const std::string text = event_text(name, data);
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kStarted) {
      return false;
    }
    text_ += text;
  }
  changed_.notify_all();
  return true;
}

bool EventStream::start(const ordered_json& data) {
  const std::string text = event_text("started", data);
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kNew) {
      return false;
    }
    phase_ = Phase::kStarted;
    text_ += text;
  }
  changed_.notify_all();
  return true;
}

bool EventStream::token(int index, std::string_view text) {
  return write("token", {{"t", text}, {"i", index}});
}

bool EventStream::metrics(const ordered_json& data) { return write("metrics", data); }
bool EventStream::finding(const ordered_json& data) { return write("finding", data); }

bool EventStream::terminate(std::string_view name, const ordered_json& data) {
  const std::string first = event_text("started", started_);
  const std::string text = event_text(name, data);
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) {
      return false;
    }
    text_ += phase_ == Phase::kNew ? first + text : text;
    phase_ = Phase::kEnded;
  }
  changed_.notify_all();
  return true;
}

bool EventStream::end(const ordered_json& data) { return terminate("end", data); }

bool EventStream::error(std::string_view code, std::string_view message) {
  return terminate("error", {{"code", code}, {"message", message}});
}

EventStream::Piece EventStream::take(std::chrono::milliseconds wait, std::size_t most) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait,
                    [this] { return taken_ < text_.size() || phase_ == Phase::kEnded; });
  Piece piece;
  piece.text = text_.substr(taken_, most);
  taken_ += piece.text.size();
  if (taken_ == text_.size()) {
    text_.clear();
    taken_ = 0;
    piece.finished = phase_ == Phase::kEnded;
  }
  return piece;
}

bool EventStream::ended() const {
  const std::lock_guard lock(mutex_);
  return phase_ == Phase::kEnded;
}

std::size_t EventStream::pending() const {
  const std::lock_guard lock(mutex_);
  return text_.size() - taken_;
}

}  // namespace layerscope::server

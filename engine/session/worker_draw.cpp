// Session::Worker: pictures for the window and exact values under its crosshair.
//
// The window asks once per frame that it draws; the worker answers between tokens, or at once while
// it is idle. A picture for which there is no place is dropped, generation goes on.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/base/log.h"
#include "engine/session/worker.h"

namespace layerscope::session {
namespace {

/// The most values of one answer: a row of a long context, or the pairs under a cell of a map.
constexpr std::size_t kMostValues = std::size_t{1} << 20U;

}  // namespace

void Session::Worker::set_draw_sink(std::shared_ptr<backend::DrawSink> sink) {
  {
    const std::lock_guard lock(mutex_);
    new_sink_ = std::move(sink);
    sink_changed_ = true;
    look_stop_.request_stop();
  }
  changed_.notify_all();
}

void Session::Worker::look(const backend::DrawRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    look_ = request;
  }
  changed_.notify_all();
}

/// What is asked for, and the present sink; false when there is nothing to do.
bool Session::Worker::take_look(backend::DrawRequest& request) {
  std::shared_ptr<backend::DrawSink> old;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (sink_changed_) {
    old = std::exchange(sink_, std::move(new_sink_));
    new_sink_.reset();
    sink_changed_ = false;
    state_.draw_error.clear();
  }
  if (!look_) {
    return false;
  }
  request = *look_;
  look_.reset();
  return true;
}

void Session::Worker::draw(bool idle) {
  backend::DrawRequest request;
  if (!take_look(request) || sink_ == nullptr || generator_ == nullptr ||
      generator_->frames().empty()) {
    return;
  }
  const bool quick = generator_->backend().draws();
  if (!quick && !idle) {
    return;  // it would hold up the tokens; the window asks again
  }
  std::stop_token stop = stop_;
  if (idle) {
    const std::lock_guard lock(mutex_);
    stop = look_stop_.get_token();
  }
  Status status = idle ? generator_->catch_up(generator_->frames().size(), stop) : Status{};
  bool made = false;
  if (status.ok()) {
    const Result<bool> drawn = generator_->draw(request, state_.session_serial, *sink_, stop);
    status = drawn.ok() ? Status{} : Status(drawn.error());
    made = drawn.ok() && drawn.value();
  }
  if (!status.ok() && status.error().code == ErrorCode::kCancelled) {
    return;
  }
  const std::string error = status.ok() ? std::string() : status.error().message;
  if (error != state_.draw_error) {
    state_.draw_error = error;
    if (!error.empty()) {
      spdlog::warn("no picture: {}", error);
    }
    publish();
  }
  if (!made) {
    return;
  }
  ++state_.pictures;
  if (options_.on_change) {
    options_.on_change();
  }
}

void Session::Worker::handle(const InspectAttention& command) {
  auto values = std::make_shared<AttentionValues>();
  values->layer = command.layer;
  values->head = command.head;
  values->first_query = command.first_query;
  values->n_queries = command.n_queries;
  values->first_key = command.first_key;
  values->n_keys = command.n_keys;
  if (const Status status = inspect(command, *values); !status.ok()) {
    if (status.error().code == ErrorCode::kCancelled) {
      return;
    }
    values->error = status.error().message;
  }
  state_.attention_values[command.use == 0 ? 0 : 1] = std::move(values);
}

Status Session::Worker::inspect(const InspectAttention& command, AttentionValues& values) {
  if (generator_ == nullptr) {
    return usage_error("no model is loaded; open one first");
  }
  const auto& frames = generator_->frames();
  const model::DecoderSpec& spec = generator_->model().spec;
  const auto inside = [](int first, int n, std::size_t end) {
    return first >= 0 && n > 0 &&
           static_cast<std::size_t>(first) + static_cast<std::size_t>(n) <= end;
  };
  if (command.layer < 0 || command.layer >= spec.n_layers || command.head < 0 ||
      command.head >= spec.n_heads ||
      !inside(command.first_query, command.n_queries, frames.size()) ||
      !inside(command.first_key, command.n_keys, frames.size())) {
    return usage_error(fmt::format("layer {} head {} has no queries {} + {} and keys {} + {}",
                                   command.layer, command.head, command.first_query,
                                   command.n_queries, command.first_key, command.n_keys));
  }
  const auto n_queries = static_cast<std::size_t>(command.n_queries);
  const auto n_keys = static_cast<std::size_t>(command.n_keys);
  if (n_queries > kMostValues / n_keys) {
    return usage_error(
        fmt::format("{} values are more than {} at a time", n_queries * n_keys, kMostValues));
  }
  LS_CHECK(generator_->catch_up(frames.size(), stop_));
  values.last_serial =
      frames[static_cast<std::size_t>(command.first_query) + n_queries - 1]->serial;
  values.values.assign(n_queries * n_keys, 0.0F);
  std::vector<float> row;
  for (std::size_t i = 0; i < n_queries; ++i) {
    const int query = command.first_query + static_cast<int>(i);
    row.resize(static_cast<std::size_t>(query) + 1);
    const capture::TokenFrame& frame = *frames[static_cast<std::size_t>(query)];
    // As captured where that is kept, which is what counts with faults in force.
    if (!generator_->backend().captured_row(frame, command.layer, command.head, row).ok()) {
      generator_->backend().attention_row(command.layer, command.head, query, row);
    }
    const auto first = static_cast<std::size_t>(command.first_key);
    if (first < row.size()) {
      std::copy_n(row.begin() + command.first_key, std::min(n_keys, row.size() - first),
                  values.values.begin() + static_cast<std::ptrdiff_t>(i * n_keys));
    }
  }
  return {};
}

}  // namespace layerscope::session

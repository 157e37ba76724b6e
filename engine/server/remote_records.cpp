// RemoteSession: what the worker sent, checked and taken in. The connection's thread only.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/server/remote_session.h"
#include "engine/session/history_use.h"
#include "engine/tokenizer/listed_tokenizer.h"

namespace layerscope::server {
namespace {

using std::chrono::milliseconds;

/// Up to this many tokens the watched head's map is made anew with every token (4 MiB), beyond
/// that at this interval.
constexpr std::size_t kQuickMap = 1024;
constexpr milliseconds kMapTime{250};
/// Serials of another process must not look like those before.
constexpr std::uint64_t kEpoch = std::uint64_t{1} << 44U;

Error nonsense(const char* what) {
  return usage_error(fmt::format("the worker sent a malformed record ({})", what));
}

}  // namespace

Status RemoteSession::take(const Record& record) {
  const auto type = static_cast<ToWindow>(record.type);
  if (!greeted_ && type != ToWindow::kHello) {
    return nonsense("no greeting");
  }
  const bool needs_model = type == ToWindow::kFrame || type == ToWindow::kRow ||
                           type == ToWindow::kState || type == ToWindow::kPrompt ||
                           type == ToWindow::kPart;
  if (needs_model && state_.model == nullptr) {
    return nonsense("no model yet");
  }
  changed_ = changed_ || type != ToWindow::kState;
  switch (type) {
    case ToWindow::kHello:
      return take_hello(record);
    case ToWindow::kModel:
      return take_model(record);
    case ToWindow::kVocabulary:
      return take_vocabulary(record);
    case ToWindow::kCut:
      return take_cut(record);
    case ToWindow::kFrame:
      return take_frame(record);
    case ToWindow::kRow:
      return take_row(record);
    case ToWindow::kPrompt: {
      if (!decode_prompt(record.payload, state_)) {
        return nonsense("prompt");
      }
      state_.token_detail.reset();
      state_.cache_view.reset();
      state_.session_serial += epoch_ * kEpoch;
      return {};
    }
    case ToWindow::kFindings: {
      if (!decode_findings(record.payload, state_)) {
        return nonsense("findings");
      }
      state_.findings_serial += epoch_ * kEpoch;
      return {};
    }
    case ToWindow::kState:
      return take_state(record);
    case ToWindow::kPart:
      return take_part(record);
    case ToWindow::kBye:
      return device_error("the worker ended the connection");
  }
  return nonsense("type");
}

Status RemoteSession::take_hello(const Record& record) {
  const auto hello = decode_hello(record.payload);
  if (greeted_ || !hello || hello->session_key == 0) {
    return nonsense("greeting");
  }
  if (hello->version != kWindowVersion ||
      hello->n_taps != static_cast<std::uint32_t>(capture::kNumTaps)) {
    return usage_error(
        "the worker speaks another version of the window protocol; use programs of "
        "the same version");
  }
  greeted_ = true;
  Resume resume;
  resume.session_key = key_;
  resume.has_model = state_.model != nullptr;
  if (hello->session_key != key_) {
    forget_all();  // another process: nothing of what is here means anything there
    ++epoch_;
  } else if (!history_.frames().empty()) {
    resume.n_frames = static_cast<std::int32_t>(history_.frames().size());
    resume.last_serial = history_.frames().back()->serial - epoch_ * kEpoch;
  }
  key_ = hello->session_key;
  parts_.clear();
  rows_.clear();
  row_bytes_ = 0;
  const std::lock_guard lock(mutex_);
  link_.bytes_per_s_most = hello->bytes_per_second;
  sent_ = acknowledged_ = 0;
  outgoing_.clear();
  push(ToWorker::kResume, encode(resume));
  if (watch_.layer >= 0) {
    push(ToWorker::kWatch, encode(watch_));
  }
  if (token_wish_) {
    push(*token_wish_);
  }
  if (cache_wish_) {
    push(*cache_wish_);
  }
  return {};
}

void RemoteSession::forget_all() {
  cut(0);
  state_.token_detail.reset();
  state_.cache_view.reset();
  const std::lock_guard lock(mutex_);
  tensors_.clear();
  tensor_order_.clear();
  tensor_bytes_ = 0;
}

Status RemoteSession::take_model(const Record& record) {
  arriving_ = decode_model(record.payload, vocab_);
  if (arriving_ == nullptr) {
    return nonsense("model");
  }
  arriving_->path = fmt::format("{}/{}", options_.url.origin(), arriving_->name);
  return {};
}

Status RemoteSession::take_vocabulary(const Record& record) {
  if (arriving_ == nullptr ||
      !decode_vocabulary(record.payload, static_cast<std::size_t>(arriving_->n_tokens), vocab_)) {
    return nonsense("vocabulary");
  }
  if (vocab_.pieces.size() == static_cast<std::size_t>(arriving_->n_tokens)) {
    arriving_->tokenizer = std::make_shared<tokenizer::ListedTokenizer>(std::move(vocab_));
    vocab_ = {};
    state_.model = std::move(arriving_);
    arriving_ = nullptr;
  }
  return {};
}

void RemoteSession::cut(std::size_t keep) {
  history_.truncate(keep);
  for (std::size_t i = keep; i < rows_.size(); ++i) {
    row_bytes_ -= rows_[i].values.size() * sizeof(float);
  }
  rows_.resize(std::min(keep, rows_.size()));
  rows_changed_ = true;
}

/// What the worker sent, within this window's own budget; the worker's line is `state_`'s, so that
/// what it dropped itself is told as well (frames say so).
void RemoteSession::limit_history() {
  session::HistoryUse& use = state_.history;
  const std::uint64_t tensors = [this] {
    const std::lock_guard lock(mutex_);
    return tensor_bytes_;
  }();
  use.budget = options_.history_budget;
  use.branches = 0;  // the worker holds them, and its rows
  use.device_rows = use.device_capacity = 0;
  use.requested = session::requested_bytes(state_) + row_bytes_ + tensors;
  history_.limit_host(use.budget - std::min(use.budget, use.requested));
  use.line = history_.memory().host();
  use.without_rows = history_.without_rows();
  use.without_statistics = history_.without_statistics();
}

Status RemoteSession::take_cut(const Record& record) {
  WireReader r(record.payload);
  const auto keep = r.get<std::int32_t>();
  if (!r.complete() || keep < 0 || static_cast<std::size_t>(keep) > history_.frames().size()) {
    return nonsense("cut");
  }
  cut(static_cast<std::size_t>(keep));
  return {};
}

Status RemoteSession::take_frame(const Record& record) {
  auto frame = decode_frame(record.payload, *state_.model);
  if (frame == nullptr || static_cast<std::size_t>(frame->position) != history_.frames().size() ||
      frame->serial >= kEpoch) {
    return nonsense("frame");
  }
  frame->serial += epoch_ * kEpoch;
  history_.append(std::move(frame));
  history_.limit_host(options_.history_budget);
  return {};
}

Status RemoteSession::take_row(const Record& record) {
  auto row = decode_row(record.payload, *state_.model);
  if (!row || static_cast<std::size_t>(row->position) >= history_.frames().size()) {
    return nonsense("row");
  }
  row->serial += epoch_ * kEpoch;
  Watch wanted;
  {
    const std::lock_guard lock(mutex_);
    wanted = watch_;
  }
  if (row->layer != wanted.layer || row->head != wanted.head) {
    return {};  // of the head that was watched before
  }
  if (rows_of_.layer != row->layer || rows_of_.head != row->head) {
    rows_.clear();
    row_bytes_ = 0;
    rows_of_ = {row->layer, row->head};
  }
  const auto position = static_cast<std::size_t>(row->position);
  rows_.resize(std::max(rows_.size(), position + 1));
  row_bytes_ -= rows_[position].values.size() * sizeof(float);
  rows_[position] = {};
  const std::uint64_t bytes = row->values.size() * sizeof(float);
  // The map made of them takes twice as much; a row beyond that is asked for when it is looked at.
  if (row_bytes_ + bytes <= options_.history_budget / 8) {
    row_bytes_ += bytes;
    rows_[position] = std::move(*row);
  }
  rows_changed_ = true;
  return {};
}

/// The watched head's rows as the map that the views fall back to: as far as they are complete.
void RemoteSession::update_map() {
  std::size_t n = 0;
  while (n < rows_.size() && n < history_.frames().size() && rows_[n].values.size() == n + 1 &&
         rows_[n].serial == history_.frames()[n]->serial) {
    ++n;
  }
  if (!rows_changed_ || (n > kQuickMap && Clock::now() - map_made_ < kMapTime)) {
    return;
  }
  rows_changed_ = false;
  map_made_ = Clock::now();
  if (n == 0) {
    state_.head_map.reset();
    return;
  }
  auto map = std::make_shared<session::HeadMap>();
  map->layer = rows_of_.layer;
  map->head = rows_of_.head;
  map->n_tokens = static_cast<int>(n);
  map->last_serial = history_.frames()[n - 1]->serial;
  map->probabilities.assign(n * n, 0.0F);
  for (std::size_t q = 0; q < n; ++q) {
    std::copy(rows_[q].values.begin(), rows_[q].values.end(),
              map->probabilities.begin() + static_cast<std::ptrdiff_t>(q * n));
  }
  state_.head_map = std::move(map);
}

Status RemoteSession::take_state(const Record& record) {
  if (!changed_ && !rows_changed_ && record.payload == last_state_) {
    return {};  // the worker's sign of life: an idle window goes on sleeping
  }
  changed_ = false;
  last_state_ = record.payload;
  StateExtra extra;
  if (!decode_state(record.payload, state_, extra) ||
      static_cast<std::size_t>(state_.n_frames) != history_.frames().size()) {
    return nonsense("state");
  }
  state_.error_serial += local_errors_;
  state_.loading_path.clear();
  state_.n_generated = std::max(0, state_.n_frames - state_.n_prompt());
  update_map();
  limit_history();
  history_.update(state_.chunks);
  progress_.what = progress_texts()[extra.what];
  progress_.permille = extra.permille;
  publish();
  const std::lock_guard lock(mutex_);
  synced_ = true;
  idle_ = extra.idle;
  acknowledged_ = extra.acknowledged;
  link_.connected = true;
  link_.problem.clear();
  return {};
}

}  // namespace layerscope::server

#include "engine/server/remote_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "engine/base/log.h"

namespace layerscope::server {
namespace {

using session::Snapshot;
using std::chrono::milliseconds;

constexpr milliseconds kReadTime{500};
constexpr milliseconds kPingTime{2000};
constexpr milliseconds kSilence{15000};
constexpr milliseconds kFirstPause{250};
constexpr milliseconds kLongestPause{5000};
constexpr std::size_t kMostOutgoing = 256;
constexpr std::size_t kMostTensors = 4096;
RemoteOptions with_budget(RemoteOptions options) {
  if (options.history_budget == 0) {
    options.history_budget = session::default_history_budget();
  }
  return options;
}

}  // namespace

RemoteSession::RemoteSession(RemoteOptions options) : options_(with_budget(std::move(options))) {
  state_.state = session::State::kLoading;
  state_.loading_path = options_.url.origin();
  published_ = std::make_shared<const Snapshot>(state_);
  link_.remote = true;
  link_.connected = false;
  link_.place = options_.url.origin();
  link_.problem = "connecting";
  thread_ = std::thread([this] { loop(); });
}

RemoteSession::~RemoteSession() {
  {
    const std::lock_guard lock(mutex_);
    quitting_ = true;
  }
  socket_.interrupt(true);
  thread_.join();
}

// ---- Any thread ---------------------------------------------------------------------------------

std::shared_ptr<const Snapshot> RemoteSession::snapshot() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

bool RemoteSession::idle() const {
  const std::lock_guard lock(mutex_);
  return ended_ || (synced_ && idle_ && outgoing_.empty() && acknowledged_ >= sent_);
}

session::LinkState RemoteSession::link() const {
  const std::lock_guard lock(mutex_);
  return link_;
}

void RemoteSession::push(ToWorker type, std::string_view payload) {
  outgoing_.push_back(frame_record(static_cast<std::uint8_t>(type), payload));
}

/// Queues a command; nothing for one that does not travel.
void RemoteSession::push(const session::Command& command) {
  if (const auto payload = encode_command(sent_ + 1, command)) {
    ++sent_;
    push(ToWorker::kCommand, *payload);
  }
}

void RemoteSession::send(session::Command command) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto* token = std::get_if<session::InspectToken>(&command)) {
      token_wish_ = *token;
    } else if (const auto* cache = std::get_if<session::InspectCache>(&command)) {
      cache_wish_ = *cache;
    }
    if (!synced_ || outgoing_.size() >= kMostOutgoing) {
      return;  // shown as not connected; acting on it later would surprise
    }
    if (const auto* head = std::get_if<session::RequestHeadMap>(&command)) {
      if (head->layer != watch_.layer || head->head != watch_.head) {
        watch_ = {head->layer, head->head};
        push(ToWorker::kWatch, encode(watch_));
      }
    } else {
      push(command);
    }
  }
  socket_.interrupt(false);
}

std::shared_ptr<const session::TensorReport> RemoteSession::tensor(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = tensors_.find(name);
    if (found != tensors_.end()) {
      return found->second;
    }
    if (!synced_ || tensors_.size() >= kMostTensors || outgoing_.size() >= kMostOutgoing) {
      return nullptr;
    }
    tensors_[name] = nullptr;
    WireWriter w;
    w.text(name);
    push(ToWorker::kWantTensor, w.take());
  }
  socket_.interrupt(false);
  return nullptr;
}

// ---- The connection's thread --------------------------------------------------------------------

void RemoteSession::publish() {
  state_.version = ++version_;
  auto snapshot = std::make_shared<const Snapshot>(state_);
  {
    const std::lock_guard lock(mutex_);
    published_.swap(snapshot);
  }
  if (options_.on_change) {
    options_.on_change();
  }
}

void RemoteSession::report(const Error& error, bool for_good) {
  {
    const std::lock_guard lock(mutex_);
    synced_ = false;
    ended_ = for_good;
    outgoing_.clear();
    std::erase_if(tensors_, [](const auto& entry) { return entry.second == nullptr; });
    link_.connected = false;
    link_.bytes_per_s = 0.0;
    link_.problem = error.message;
  }
  if (for_good) {
    state_.error = fmt::format("{}: {}", options_.url.origin(), error.message);
    ++state_.error_serial;
    ++local_errors_;
    state_.loading_path.clear();
    if (state_.state == session::State::kLoading) {
      state_.state = session::State::kEmpty;
    }
  }
  if (state_.state == session::State::kRunning || state_.state == session::State::kEvaluating) {
    state_.state = session::State::kIdle;
  }
  progress_.permille = -1;
  publish();
}

void RemoteSession::loop() {
  milliseconds pause = kFirstPause;
  for (;;) {
    Status status = socket_.open(options_.url, options_.token);
    if (status.ok()) {
      status = serve();
      pause = greeted_ ? kFirstPause : pause;
      socket_.close();
    }
    {
      const std::lock_guard lock(mutex_);
      if (quitting_) {
        return;
      }
    }
    const bool for_good = status.error().code == ErrorCode::kUsage;
    spdlog::debug("{}: {}", options_.url.origin(), status.error().message);
    report(status.error(), for_good);
    if (for_good) {
      return;
    }
    for (auto left = pause; left.count() > 0; left -= milliseconds(50)) {
      std::this_thread::sleep_for(milliseconds(50));
      const std::lock_guard lock(mutex_);
      if (quitting_) {
        return;
      }
    }
    pause = std::min(pause * 2, kLongestPause);
    const std::lock_guard lock(mutex_);
    ++link_.reconnects;
  }
}

Status RemoteSession::flush() {
  for (;;) {
    std::string record;
    {
      const std::lock_guard lock(mutex_);
      if (outgoing_.empty()) {
        return {};
      }
      record = outgoing_.front();
    }
    LS_CHECK(socket_.write(record));
    const std::lock_guard lock(mutex_);
    if (!outgoing_.empty()) {
      outgoing_.pop_front();
    }
  }
}

void RemoteSession::count_bytes(std::size_t n) {
  const auto now = Clock::now();
  second_bytes_ += n;
  const std::lock_guard lock(mutex_);
  link_.bytes_total += n;
  const double seconds = std::chrono::duration<double>(now - second_began_).count();
  if (seconds >= 1.0) {
    link_.bytes_per_s = static_cast<double>(second_bytes_) / seconds;
    second_bytes_ = 0;
    second_began_ = now;
  }
}

/// Reads until the connection ends; the reason is the result.
Status RemoteSession::serve() {
  greeted_ = false;
  second_began_ = heard_ = Clock::now();
  auto pinged = Clock::now();
  RecordReader incoming(kMostFromWorker);
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (quitting_) {
        return cancelled_error();
      }
    }
    if (greeted_) {
      LS_CHECK(flush());
    }
    if (Clock::now() - pinged > kPingTime && greeted_) {
      pinged = Clock::now();
      LS_CHECK(socket_.write(frame_record(static_cast<std::uint8_t>(ToWorker::kPing), {})));
    }
    LS_TRY(const std::string bytes, socket_.read(kReadTime));
    count_bytes(bytes.size());
    heard_ = bytes.empty() ? heard_ : Clock::now();
    if (Clock::now() - heard_ > kSilence) {
      return device_error("the worker has fallen silent");
    }
    incoming.push(bytes);
    while (const auto record = incoming.next()) {
      LS_CHECK(take(*record));
    }
    if (incoming.broken()) {
      return usage_error("the worker sent a malformed record (length)");
    }
  }
}

}  // namespace layerscope::server

#include "engine/server/windows.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/server/view_sender.h"
#include "engine/server/window_protocol.h"

namespace layerscope::server {
namespace {

using Clock = std::chrono::steady_clock;
using session::Snapshot;

constexpr std::chrono::milliseconds kBeat{1000};  ///< a State at least this often
constexpr std::chrono::milliseconds kQuick{10};   ///< while something is left to send or do
constexpr std::chrono::seconds kSilence{30};      ///< a window that says nothing is gone
constexpr std::chrono::milliseconds kBetweenMaps{500};
constexpr std::size_t kVocabularyBytes = std::size_t{256} << 10U;

std::uint64_t process_key() {
  std::random_device random;
  const std::uint64_t key = (std::uint64_t{random()} << 32U) | random();
  return key == 0 ? 1 : key;
}

}  // namespace

/// One attached window, driven by its connection's thread; `notify` and `close` from any thread.
class WindowLink {
 public:
  WindowLink(session::Session& session, Connection& connection, Metrics& metrics, double rate,
             std::uint64_t key)
      : session_(session),
        connection_(connection),
        metrics_(metrics),
        rate_(rate),
        key_(key),
        views_(session),
        event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~WindowLink() { ::close(event_); }
  WindowLink(const WindowLink&) = delete;
  WindowLink& operator=(const WindowLink&) = delete;

  void run();
  void notify() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(event_, &one, sizeof one);
  }
  void close() {
    closed_ = true;
    notify();
  }

 private:
  bool greet();
  bool receive();
  bool handle(const Record& record);
  bool resume(const Resume& wanted);
  void pump();
  void cut_to_match(const Snapshot& now);
  void send_frames(const Snapshot& now);
  void send_rows(const Snapshot& now);
  void send_part(const Snapshot& now, bool idle);
  void send_state(const Snapshot& now, bool idle);
  [[nodiscard]] std::span<const float> row_of(const Snapshot& now, int position) const;
  bool send_row(const Snapshot& now, int position);
  void send(ToWindow type, std::string_view payload);
  [[nodiscard]] bool may_send();

  session::Session& session_;
  Connection& connection_;
  Metrics& metrics_;
  const double rate_;  ///< bytes per second
  const std::uint64_t key_;
  ViewSender views_;
  const int event_;
  std::atomic<bool> closed_{false};

  RecordReader incoming_{kMostFromWindow};
  bool resumed_ = false;
  bool broken_ = false;  ///< the window is gone or talks nonsense
  bool more_ = false;    ///< the budget did not suffice
  double budget_ = 0.0;
  Clock::time_point refilled_ = Clock::now();
  Clock::time_point heard_ = Clock::now();
  Clock::time_point state_sent_, map_asked_;
  std::uint64_t acknowledged_ = 0, sent_version_ = 0, sent_acknowledged_ = 0;
  std::uint64_t findings_serial_ = ~std::uint64_t{0}, session_serial_ = ~std::uint64_t{0};
  bool sent_idle_ = false;
  std::int32_t sent_permille_ = -1;
  int sent_frames_ = -1;               ///< in the last State
  bool view_sent_ = false;             ///< a view is whole since the last State
  std::vector<std::uint64_t> frames_;  ///< serials of the frames that the window has
  Watch watch_;
  std::vector<std::uint64_t> rows_;  ///< serials of the watched rows that it has; 0: none
};

void WindowLink::send(ToWindow type, std::string_view payload) {
  if (broken_) {
    return;
  }
  const std::string record = frame_record(static_cast<std::uint8_t>(type), payload);
  budget_ -= static_cast<double>(record.size());
  metrics_.window_bytes += record.size();
  broken_ = connection_.write(record.data(), record.size()) < 0;
}

/// Refills the budget; true while there is some. A record larger than what is left makes a debt.
bool WindowLink::may_send() {
  const auto now = Clock::now();
  budget_ += std::chrono::duration<double>(now - refilled_).count() * rate_;
  budget_ = std::min(budget_, rate_ / 4.0);
  refilled_ = now;
  more_ = more_ || budget_ <= 0.0;
  return budget_ > 0.0 && !broken_;
}

bool WindowLink::greet() {
  Hello hello;
  hello.n_taps = static_cast<std::uint32_t>(capture::kNumTaps);
  hello.session_key = key_;
  hello.bytes_per_second = static_cast<std::uint64_t>(rate_);
  send(ToWindow::kHello, encode(hello));
  return !broken_;
}

/// Takes what has arrived; false when the window is gone or talks nonsense.
bool WindowLink::receive() {
  std::array<char, 16384> bytes{};
  for (;;) {
    const ssize_t n = ::recv(connection_.socket(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
      return false;
    }
    if (n < 0) {
      return true;
    }
    heard_ = Clock::now();
    incoming_.push({bytes.data(), static_cast<std::size_t>(n)});
    while (const auto record = incoming_.next()) {
      if (!handle(*record)) {
        send(ToWindow::kBye, "the worker did not understand the window");
        return false;
      }
    }
    if (incoming_.broken()) {
      return false;
    }
  }
}

bool WindowLink::handle(const Record& record) {
  const auto type = static_cast<ToWorker>(record.type);
  if (!resumed_ && type != ToWorker::kResume) {
    return false;
  }
  switch (type) {
    case ToWorker::kResume: {
      const auto wanted = decode_resume(record.payload);
      return wanted && !resumed_ && resume(*wanted);
    }
    case ToWorker::kCommand: {
      auto command = decode_command(record.payload);
      if (!command) {
        return false;
      }
      if (!views_.take(command->command)) {
        session_.send(std::move(command->command));
      }
      acknowledged_ = command->number;
      return true;
    }
    case ToWorker::kWatch: {
      const auto watch = decode_watch(record.payload);
      if (watch) {
        watch_ = *watch;
        rows_.clear();
      }
      return watch.has_value();
    }
    case ToWorker::kWantTensor: {
      WireReader r(record.payload);
      std::string name = r.text(4096);
      return r.complete() && views_.want_tensor(std::move(name));
    }
    case ToWorker::kPing:
      state_sent_ = {};  // answered by the next State
      return record.payload.empty();
  }
  return false;
}

bool WindowLink::resume(const Resume& wanted) {
  resumed_ = true;
  const auto now = session_.snapshot();
  if (now->model == nullptr) {
    send(ToWindow::kBye, "the worker has no model");
    return false;
  }
  const bool same = wanted.session_key == key_;
  if (!same || !wanted.has_model) {
    send(ToWindow::kModel, encode_model(*now->model));
    for (std::int32_t first = 0; first < now->model->n_tokens && !broken_;) {
      send(ToWindow::kVocabulary,
           encode_vocabulary(*now->model->tokenizer, first, kVocabularyBytes));
    }
    budget_ = std::max(budget_, 0.0);  // the greeting is bounded by the model, not by the rate
  }
  const capture::TokenFrame* last = now->frame(wanted.n_frames - 1);
  if (same && last != nullptr && last->serial == wanted.last_serial) {
    for (int i = 0; i < wanted.n_frames; ++i) {
      frames_.push_back(now->frame(i)->serial);
    }
  } else if (wanted.n_frames > 0) {
    WireWriter w;
    w.put(std::int32_t{0});
    send(ToWindow::kCut, w.take());
  }
  return !broken_;
}

/// Frames are only appended or cut at the end: an equal serial means that all before it are equal.
void WindowLink::cut_to_match(const Snapshot& now) {
  std::size_t keep = std::min(frames_.size(), static_cast<std::size_t>(now.n_frames));
  while (keep > 0 && now.frame(static_cast<int>(keep) - 1)->serial != frames_[keep - 1]) {
    --keep;
  }
  if (keep < frames_.size()) {
    frames_.resize(keep);
    rows_.resize(std::min(rows_.size(), keep));
    WireWriter w;
    w.put(static_cast<std::int32_t>(keep));
    send(ToWindow::kCut, w.take());
  }
}

std::span<const float> WindowLink::row_of(const Snapshot& now, int position) const {
  const capture::TokenFrame& frame = *now.frame(position);
  const auto n = static_cast<std::size_t>(position) + 1;
  const auto own = frame.attention_row(watch_.layer, watch_.head);
  if (own.size() == n) {
    return own;
  }
  const session::HeadMap* map = now.head_map.get();
  if (map == nullptr || map->layer != watch_.layer || map->head != watch_.head ||
      position >= map->n_tokens || frame.serial > map->last_serial) {
    return {};
  }
  return std::span(map->probabilities)
      .subspan(static_cast<std::size_t>(position) * static_cast<std::size_t>(map->n_tokens), n);
}

/// False when the row is not at hand.
bool WindowLink::send_row(const Snapshot& now, int position) {
  const auto values = row_of(now, position);
  if (values.empty()) {
    return false;
  }
  Row row{watch_.layer, watch_.head, position, now.frame(position)->serial, {}};
  row.values.assign(values.begin(), values.end());
  send(ToWindow::kRow, encode(row));
  rows_.resize(std::max(rows_.size(), static_cast<std::size_t>(position) + 1));
  rows_[static_cast<std::size_t>(position)] = row.serial;
  return true;
}

void WindowLink::send_frames(const Snapshot& now) {
  while (static_cast<int>(frames_.size()) < now.n_frames && may_send()) {
    const int position = static_cast<int>(frames_.size());
    const capture::TokenFrame& frame = *now.frame(position);
    send(ToWindow::kFrame, encode_frame(frame));
    frames_.push_back(frame.serial);
    if (watch_.layer >= 0) {
      send_row(now, position);
    }
  }
}

/// Rows of the watched head that the window lacks: after another head was chosen.
void WindowLink::send_rows(const Snapshot& now) {
  if (watch_.layer < 0 || watch_.layer >= now.model->n_layers || watch_.head < 0 ||
      watch_.head >= now.model->n_heads) {
    return;
  }
  rows_.resize(frames_.size());
  bool missing = false;
  for (std::size_t p = 0; p < rows_.size(); ++p) {
    if (rows_[p] == frames_[p]) {
      continue;
    }
    if (!may_send()) {
      return;
    }
    missing = !send_row(now, static_cast<int>(p)) || missing;
  }
  // Rows dropped for memory come back from the caches, when the session has time.
  if (missing && session_.idle() && Clock::now() - map_asked_ > kBetweenMaps) {
    map_asked_ = Clock::now();
    session_.send(session::RequestHeadMap{watch_.layer, watch_.head});
  }
}

/// One part, so that frames and views share the connection.
void WindowLink::send_part(const Snapshot& now, bool idle) {
  const auto part = may_send() ? views_.next(now, idle) : std::nullopt;
  if (part) {
    send(ToWindow::kPart, *part);
    view_sent_ = view_sent_ || views_.whole();
  }
}

void WindowLink::send_state(const Snapshot& now, bool idle) {
  StateExtra extra;
  extra.acknowledged = acknowledged_;
  extra.idle = idle && static_cast<int>(frames_.size()) == now.n_frames && !views_.pending();
  extra.permille = std::clamp(session_.progress().permille.load(), -1, 1000);
  const auto texts = progress_texts();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (std::string_view(texts[i]) == session_.progress().what.load()) {
      extra.what = static_cast<std::uint8_t>(i);
    }
  }
  const bool same = now.version == sent_version_ && acknowledged_ == sent_acknowledged_ &&
                    extra.idle == sent_idle_ && extra.permille == sent_permille_ &&
                    static_cast<int>(frames_.size()) == sent_frames_ && !view_sent_;
  if (same && Clock::now() - state_sent_ < kBeat) {
    return;
  }
  send(ToWindow::kState, encode_state(now, static_cast<int>(frames_.size()), extra));
  state_sent_ = Clock::now();
  sent_version_ = now.version;
  sent_acknowledged_ = acknowledged_;
  sent_idle_ = extra.idle;
  sent_permille_ = extra.permille;
  sent_frames_ = static_cast<int>(frames_.size());
  view_sent_ = false;
}

void WindowLink::pump() {
  more_ = false;
  if (!may_send()) {
    return;
  }
  // In this order, "idle" means that the snapshot holds all that was acknowledged.
  const bool idle = session_.idle();
  const auto now = session_.snapshot();
  if (now->model == nullptr) {
    return;
  }
  cut_to_match(*now);
  if (now->session_serial != session_serial_) {
    session_serial_ = now->session_serial;
    send(ToWindow::kPrompt, encode_prompt(*now));
  }
  if (now->findings_serial != findings_serial_) {
    findings_serial_ = now->findings_serial;
    send(ToWindow::kFindings, encode_findings(now->findings, now->findings_serial));
  }
  send_part(*now, idle);
  send_frames(*now);
  send_rows(*now);
  while (views_.sending() && static_cast<int>(frames_.size()) == now->n_frames && may_send()) {
    send_part(*now, idle);
  }
  send_state(*now, idle);
  more_ = more_ || !sent_idle_;
}

void WindowLink::run() {
  if (event_ < 0 || !greet()) {
    return;
  }
  incoming_.push(connection_.take_buffered());
  while (const auto record = incoming_.next()) {
    if (!handle(*record)) {
      return;
    }
  }
  while (!broken_ && !closed_) {
    std::array<pollfd, 2> items{{{connection_.socket(), POLLIN, 0}, {event_, POLLIN, 0}}};
    const auto wait = more_ ? kQuick : kBeat;
    ::poll(items.data(), items.size(), static_cast<int>(wait.count()));
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = ::read(event_, &count, sizeof count);
    if ((items[0].revents != 0 && !receive()) || Clock::now() - heard_ > kSilence) {
      return;
    }
    if (resumed_) {
      pump();
    }
  }
  if (closed_) {
    send(ToWindow::kBye, "the worker is shutting down");
  }
}

Windows::Windows(session::Session& session, Metrics& metrics, double bytes_per_second)
    : session_(session),
      metrics_(metrics),
      bytes_per_second_(bytes_per_second),
      key_(process_key()) {}

bool Windows::reserve() {
  int n = count_;
  while (!closed_ && n < kMaxWindows) {
    if (count_.compare_exchange_weak(n, n + 1)) {
      return true;
    }
  }
  return false;
}

void Windows::serve(Connection& connection) {
  WindowLink link(session_, connection, metrics_, bytes_per_second_, key_);
  {
    const std::lock_guard lock(mutex_);
    links_.insert(&link);
  }
  spdlog::info("a window attached ({} now)", count());
  if (closed_) {
    link.close();
  }
  link.run();
  {
    const std::lock_guard lock(mutex_);
    links_.erase(&link);
  }
  --count_;
  spdlog::info("a window left ({} now)", count());
}

void Windows::notify() {
  const std::lock_guard lock(mutex_);
  for (const WindowLink* link : links_) {
    link->notify();
  }
}

void Windows::close() {
  closed_ = true;
  const std::lock_guard lock(mutex_);
  for (WindowLink* link : links_) {
    link->close();
  }
}

}  // namespace layerscope::server

// EventStream: the Server-Sent Events of one job, in strict order, with exactly one terminal event.
//
// One thread writes (the session's worker, or whoever cancels), one reads (the connection). The
// order holds whatever the writers do: `started` comes first, nothing follows `end` or `error`.
// Text of the wire format: WHATWG HTML, "Server-sent events".
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace layerscope::server {

/// "event: token\ndata: {…}\n\n". Bytes that are not UTF-8 become U+FFFD; JSON escapes line ends,
/// so that the data are one line.
std::string event_text(std::string_view name, const nlohmann::ordered_json& data);

class EventStream {
 public:
  /// `started` is what stands in the first event, should the job end before it began.
  explicit EventStream(nlohmann::ordered_json started) : started_(std::move(started)) {}

  // Each returns false, and writes nothing, where the order forbids it.
  bool start(const nlohmann::ordered_json& data);
  bool token(int index, std::string_view text);
  bool metrics(const nlohmann::ordered_json& data);
  bool finding(const nlohmann::ordered_json& data);
  bool end(const nlohmann::ordered_json& data);
  /// `code`: VRAM_OOM, CANCELLED, TIMEOUT, INVALID_REQUEST or INFERENCE_FAILED.
  bool error(std::string_view code, std::string_view message);

  struct Piece {
    std::string text;       ///< at most `most` bytes
    bool finished = false;  ///< the terminal event has been taken
  };
  /// Waits up to `wait` for something to send.
  Piece take(std::chrono::milliseconds wait, std::size_t most);

  [[nodiscard]] bool ended() const;
  /// Bytes written and not yet taken.
  [[nodiscard]] std::size_t pending() const;

 private:
  enum class Phase { kNew, kStarted, kEnded };
  bool write(std::string_view name, const nlohmann::ordered_json& data);
  bool terminate(std::string_view name, const nlohmann::ordered_json& data);

  const nlohmann::ordered_json started_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::kNew;
  std::string text_;
  std::size_t taken_ = 0;  ///< of text_
};

}  // namespace layerscope::server

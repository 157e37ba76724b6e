// RemoteSocket: the window's end of its connection to a worker. One thread, except `interrupt`.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/server/url.h"

namespace layerscope::server {

class RemoteSocket {
 public:
  RemoteSocket();
  ~RemoteSocket();
  RemoteSocket(const RemoteSocket&) = delete;
  RemoteSocket& operator=(const RemoteSocket&) = delete;

  /// Connects and asks for the window's protocol. Errors: kDevice (worth another attempt: nobody
  /// there, busy), kUsage (it is not: wrong token, no worker, another version), kCancelled.
  Status open(const Url& url, const std::string& token);
  void close();
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

  /// All of `bytes`, or an error (kDevice) after 10 s without progress.
  Status write(std::string_view bytes);
  /// What has arrived within `wait`, possibly nothing. Error (kDevice): the worker is gone.
  Result<std::string> read(std::chrono::milliseconds wait);

  /// Any thread: ends a wait in `read`; with `for_good` also everything else.
  void interrupt(bool for_good);

 private:
  [[nodiscard]] bool wait_for(int fd, short events, std::chrono::milliseconds most) const;
  Status connect(const Url& url);
  Status upgrade(const Url& url, const std::string& token);

  int fd_ = -1;
  const int event_;
  std::atomic<bool> quitting_{false};
  std::string ahead_;  ///< read beyond the answer's head
};

/// What an answer's status line means: ok (101), or why not.
Status judge_upgrade(std::string_view head);

}  // namespace layerscope::server

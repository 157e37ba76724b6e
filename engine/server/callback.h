// Callback: tells whoever started the worker that it is ready, on a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "engine/server/url.h"

namespace layerscope::server {

/// What to do after an attempt that was answered with `status` (0: no answer).
enum class Verdict { kDone, kRetry, kGiveUp };
/// 2xx is done; 408, 425, 429, 5xx and no answer are worth another attempt; the rest is not.
Verdict judge(int status);

/// Time before attempt `n` (1 is the second): 0.25 s doubled each time, at most 30 s, ±20 % by
/// `jitter` in 0 … 1 so that many workers do not come back together.
std::chrono::milliseconds back_off(int n, double jitter);

class Callback {
 public:
  /// Starts at once; gives up after `most` attempts.
  Callback(Url url, std::string body, int most = 10);
  ~Callback();  ///< Ends a wait at once, a request within its time limit (5 s).
  Callback(const Callback&) = delete;
  Callback& operator=(const Callback&) = delete;

 private:
  void loop();
  int attempt() const;

  const Url url_;
  const std::string body_;
  const int most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool quitting_ = false;
  std::thread thread_;
};

}  // namespace layerscope::server

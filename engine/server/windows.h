// Windows: attached windows, each on its upgraded connection and that connection's thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>

#include "engine/server/connection.h"
#include "engine/server/limits.h"
#include "engine/server/metrics.h"
#include "engine/session/session.h"

namespace layerscope::server {

class WindowLink;

class Windows {
 public:
  Windows(session::Session& session, Metrics& metrics, double bytes_per_second);

  /// Takes one of kMaxWindows places; `serve` gives it back.
  bool reserve();
  /// Serves one window until it leaves or `close`.
  void serve(Connection& connection);
  /// Tells every window that the session changed (from the session's worker thread).
  void notify();
  /// Says goodbye to all; new ones leave at once.
  void close();
  [[nodiscard]] int count() const { return count_; }

 private:
  session::Session& session_;
  Metrics& metrics_;
  const double bytes_per_second_;
  const std::uint64_t key_;  ///< of this process
  std::atomic<int> count_{0};
  std::atomic<bool> closed_{false};
  std::mutex mutex_;
  std::set<WindowLink*> links_;
};

}  // namespace layerscope::server

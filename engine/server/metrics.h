// Metrics: counters of the worker, as Prometheus text (exposition format 0.0.4). Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace layerscope::server {

/// What is measured at the moment of asking.
struct Gauges {
  std::size_t waiting = 0;  ///< jobs in the queue
  bool running = false;
  int connections = 0;
  int windows = 0;
  std::uint64_t device_bytes = 0;
  double uptime_s = 0.0;
};

class Metrics {
 public:
  std::atomic<std::uint64_t> tokens{0}, prompt_tokens{0}, prefill_us{0}, decode_us{0}, findings{0};
  std::atomic<std::uint64_t> window_bytes{0};
  /// Streams that were given to a client, and those that ended without their terminal event being
  /// sent because the client was gone.
  std::atomic<std::uint64_t> streams{0}, streams_cut{0};

  /// `outcome`: "end" or an error code.
  void job_ended(std::string_view outcome);
  /// One answered request; `path` must be one of our own.
  void request(std::string_view path, int status);
  [[nodiscard]] std::string text(const Gauges& now) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::uint64_t, std::less<>> jobs_;
  std::map<std::pair<std::string, int>, std::uint64_t> requests_;
};

}  // namespace layerscope::server

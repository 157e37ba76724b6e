// Who may use the worker: a bearer token, or being on the same machine. Rates per address.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace layerscope::server {

/// True for addresses of this machine alone: "127.…", "::1", "localhost".
bool is_loopback(std::string_view host);

/// Compares in time that depends on the length of `given` alone.
bool same_secret(std::string_view given, std::string_view secret);

/// True when `header` is "Bearer <secret>".
bool bearer_matches(std::string_view header, std::string_view secret);

/// Without a token a page in a local browser must not reach the worker: its requests carry an
/// Origin, and a rebound name stands in Host. True when both are absent or of this machine.
bool is_local_request(std::string_view host_header, std::string_view origin_header);

/// Token buckets by key; full buckets are forgotten, so that the table stays small.
class RateLimiter {
 public:
  using Clock = std::chrono::steady_clock;
  /// `rate` per second, `burst` at once; a rate ≤ 0 allows everything.
  RateLimiter(double rate, double burst, std::size_t most_keys)
      : rate_(rate), burst_(burst), most_keys_(most_keys) {}
  /// Takes one; false when there is none.
  bool allow(const std::string& key, Clock::time_point now = Clock::now());
  /// Whether one could be taken.
  [[nodiscard]] bool has(const std::string& key, Clock::time_point now = Clock::now());
  [[nodiscard]] std::size_t size() const;

 private:
  struct Bucket {
    double left;
    Clock::time_point at;
  };
  double refill(const Bucket& bucket, Clock::time_point now) const;
  void forget_full(Clock::time_point now);

  const double rate_, burst_;
  const std::size_t most_keys_;
  mutable std::mutex mutex_;
  std::map<std::string, Bucket> buckets_;
};

}  // namespace layerscope::server

#include "engine/server/auth.h"

#include <algorithm>

namespace layerscope::server {
namespace {

/// "127.0.0.1:9999" → "127.0.0.1", "[::1]:9999" → "::1".
std::string_view host_of(std::string_view authority) {
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t end = authority.find(']');
    return end == std::string_view::npos ? std::string_view() : authority.substr(1, end - 1);
  }
  return authority.substr(0, authority.find(':'));
}

}  // namespace

bool is_loopback(std::string_view host) {
  if (host == "localhost" || host == "::1") {
    return true;
  }
  // An address, not a name that only begins like one ("127.0.0.1.example").
  const bool digits = std::all_of(host.begin(), host.end(),
                                  [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
  return digits && host.substr(0, 4) == "127." && std::count(host.begin(), host.end(), '.') == 3;
}

bool same_secret(std::string_view given, std::string_view secret) {
  // One pass over what was given, whatever the secret is; volatile keeps the compiler from leaving
  // early.
  volatile unsigned difference = given.size() == secret.size() ? 0U : 1U;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char expected = secret.empty() ? '\0' : secret[i % secret.size()];
    difference = difference | static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^
                                                    static_cast<unsigned char>(expected));
  }
  return difference == 0U && !secret.empty();
}

bool bearer_matches(std::string_view header, std::string_view secret) {
  constexpr std::string_view kScheme = "Bearer ";
  return header.substr(0, kScheme.size()) == kScheme &&
         same_secret(header.substr(kScheme.size()), secret);
}

bool is_local_request(std::string_view host_header, std::string_view origin_header) {
  if (!host_header.empty() && !is_loopback(host_of(host_header))) {
    return false;
  }
  if (origin_header.empty()) {
    return true;
  }
  const std::size_t scheme = origin_header.find("://");
  return scheme != std::string_view::npos && is_loopback(host_of(origin_header.substr(scheme + 3)));
}

double RateLimiter::refill(const Bucket& bucket, Clock::time_point now) const {
  const double seconds = std::chrono::duration<double>(now - bucket.at).count();
  return std::min(burst_, bucket.left + std::max(0.0, seconds) * rate_);
}

void RateLimiter::forget_full(Clock::time_point now) {
  std::erase_if(buckets_, [&](const auto& entry) { return refill(entry.second, now) >= burst_; });
  if (buckets_.size() >= most_keys_) {
    buckets_.clear();  // more attackers than we remember: start over rather than grow
  }
}

bool RateLimiter::allow(const std::string& key, Clock::time_point now) {
  if (rate_ <= 0.0) {
    return true;
  }
  const std::lock_guard lock(mutex_);
  if (buckets_.size() >= most_keys_ && buckets_.count(key) == 0) {
    forget_full(now);
  }
  Bucket& bucket = buckets_.try_emplace(key, Bucket{burst_, now}).first->second;
  bucket = {refill(bucket, now), now};
  if (bucket.left < 1.0) {
    return false;
  }
  bucket.left -= 1.0;
  return true;
}

bool RateLimiter::has(const std::string& key, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto found = buckets_.find(key);
  return rate_ <= 0.0 || found == buckets_.end() || refill(found->second, now) >= 1.0;
}

std::size_t RateLimiter::size() const {
  const std::lock_guard lock(mutex_);
  return buckets_.size();
}

}  // namespace layerscope::server

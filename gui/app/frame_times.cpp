#include "gui/app/frame_times.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace layerscope::gui {

void FrameTimes::add(double seconds) {
  const auto ms = static_cast<float>(seconds * 1e3);
  if (ms_.size() < kMost) {
    ms_.push_back(ms);
  } else {
    ms_[next_] = ms;
    next_ = (next_ + 1) % kMost;
  }
}

double FrameTimes::percentile(double p) const {
  if (ms_.empty()) {
    return 0.0;
  }
  std::vector<float> sorted = ms_;
  const double rank =
      std::ceil(std::clamp(p, 0.0, 100.0) / 100.0 * static_cast<double>(sorted.size()));
  const auto at = static_cast<std::ptrdiff_t>(std::max(rank, 1.0)) - 1;
  std::nth_element(sorted.begin(), sorted.begin() + at, sorted.end());
  return static_cast<double>(sorted[static_cast<std::size_t>(at)]);
}

std::string FrameTimes::percentiles() const {
  return fmt::format("p50 {:.1f} ms, p95 {:.1f} ms, p99 {:.1f} ms, slowest {:.1f} ms",
                     percentile(50), percentile(95), percentile(99), percentile(100));
}

std::string FrameTimes::text() const {
  return fmt::format("{} frames: {}", ms_.size(), percentiles());
}

double rest_after_frame(double spent, double frames_per_s, bool shared) {
  constexpr double kLongest = 0.1;  // a picture of a running model is never older
  const double even = 1.0 / frames_per_s - spent;
  return std::max({0.0, even, shared ? std::min(spent, kLongest) : 0.0});
}

std::string FrameTimes::short_text() const {
  return fmt::format("{:.2f}/{:.2f} ms", percentile(50), percentile(95));
}

void FrameCosts::clear() {
  whole.clear();
  own.clear();
  colouring.clear();
  interface.clear();
}

bool FramePace::due(double now, double interval) {
  if (now < last_ + interval) {
    return false;
  }
  // A late frame does not delay the ones after it, but is not made up for either.
  last_ = std::max(last_ + interval, now - interval);
  return true;
}

double thread_seconds() {
#ifdef CLOCK_THREAD_CPUTIME_ID
  timespec now{};
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0) {
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  }
#endif
  return 0.0;
}

}  // namespace layerscope::gui

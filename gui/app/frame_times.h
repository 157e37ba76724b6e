// FrameTimes: how long frames took, as percentiles. UI thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace layerscope::gui {

class FrameTimes {
 public:
  /// The newest this many are kept.
  static constexpr std::size_t kMost = 100000;

  void clear() {
    ms_.clear();
    next_ = 0;
  }
  void add(double seconds);
  [[nodiscard]] std::size_t count() const { return ms_.size(); }
  /// Nearest-rank percentile in milliseconds, `p` in 0 … 100; 0 without frames.
  [[nodiscard]] double percentile(double p) const;
  /// "p50 4.1 ms, p95 7.9 ms, p99 12.0 ms, slowest 15.2 ms"
  [[nodiscard]] std::string percentiles() const;
  /// "312 frames: p50 4.1 ms, p95 7.9 ms, p99 12.0 ms, slowest 15.2 ms"
  [[nodiscard]] std::string text() const;
  /// "0.21/0.35 ms": p50 and p95.
  [[nodiscard]] std::string short_text() const;

 private:
  std::vector<float> ms_;
  std::size_t next_ = 0;  ///< overwritten next, once full
};

/// What drawing costs, per frame.
struct FrameCosts {
  FrameTimes whole;      ///< from a frame's beginning until its commands are handed over
  FrameTimes own;        ///< of it, processor time of the UI thread
  FrameTimes colouring;  ///< on the device: heatmaps
  FrameTimes interface;  ///< on the device: everything else
  void clear();
};

/// Seconds to rest after a frame that took `spent` seconds, so that at most `frames_per_s` are
/// drawn in a second. Where drawing and computing share the processor (`shared`: software rendering
/// while the model runs on the CPU) drawing takes at most half of the time. Input ends a rest at
/// once.
double rest_after_frame(double spent, double frames_per_s, bool shared);

/// When the next frame is due.
class FramePace {
 public:
  /// Whether `interval` has passed since the frame before, which is then the present one. Seconds.
  bool due(double now, double interval);

 private:
  double last_ = 0.0;
};

/// Processor time of the calling thread in seconds: what drawing costs, whatever else runs on the
/// machine; 0 where the system does not tell.
double thread_seconds();

}  // namespace layerscope::gui

// InputProbe: events at moments that know nothing of the frames, as a person's are, to measure how
// long the window takes to answer. Made, asked and destroyed on the UI thread.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace layerscope::gui {

class InputProbe {
 public:
  using Clock = std::chrono::steady_clock;
  /// About `per_second` events from now on, unevenly spaced; `wake` is called with each, on a
  /// thread of the probe's own, as the system's event would end the window's sleep.
  InputProbe(double per_second, std::function<void()> wake);

  [[nodiscard]] bool pending() const;
  /// When the events came that nobody has taken yet.
  std::vector<Clock::time_point> take();

 private:
  mutable std::mutex mutex_;
  std::vector<Clock::time_point> waiting_;
  std::jthread thread_;  ///< last: starts when everything else exists
};

}  // namespace layerscope::gui

#include "gui/app/input_probe.h"

#include <condition_variable>
#include <random>
#include <utility>

namespace layerscope::gui {

InputProbe::InputProbe(double per_second, std::function<void()> wake)
    : thread_([this, per_second, wake = std::move(wake)](const std::stop_token& stop) {
        std::mt19937 random(11);  // NOLINT: the same spacing every time
        std::uniform_real_distribution<double> spacing(0.3 / per_second, 1.7 / per_second);
        std::mutex sleep;
        std::condition_variable_any never;
        while (!stop.stop_requested()) {
          {
            std::unique_lock lock(sleep);
            never.wait_for(lock, stop, std::chrono::duration<double>(spacing(random)),
                           [] { return false; });
          }
          if (stop.stop_requested()) {
            return;
          }
          {
            const std::lock_guard lock(mutex_);
            waiting_.push_back(Clock::now());
          }
          wake();
        }
      }) {}

bool InputProbe::pending() const {
  const std::lock_guard lock(mutex_);
  return !waiting_.empty();
}

std::vector<InputProbe::Clock::time_point> InputProbe::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(waiting_, {});
}

}  // namespace layerscope::gui

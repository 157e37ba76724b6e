#include "engine/base/priority.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace layerscope {

void lower_own_priority() {
  // Ten steps have a ninth of the weight in Linux' scheduler. A failure costs smoothness only.
  constexpr int kSteps = 10;
  constexpr int kLowest = 19;
  const auto thread = static_cast<id_t>(::syscall(SYS_gettid));
  const int now = ::getpriority(PRIO_PROCESS, thread);
  [[maybe_unused]] const int unused =
      ::setpriority(PRIO_PROCESS, thread, std::min(now + kSteps, kLowest));
}

void start_at_low_priority(const std::function<void()>& start) {
  std::thread([&start] {
    lower_own_priority();
    start();
  }).join();
}

}  // namespace layerscope

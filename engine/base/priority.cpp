#include "engine/base/priority.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

namespace layerscope {

void lower_own_priority() {
  // Nice 10 has a ninth of the weight of nice 0 in Linux' scheduler. A failure costs smoothness
  // only.
  constexpr int kNice = 10;
  const auto thread = static_cast<id_t>(::syscall(SYS_gettid));
  [[maybe_unused]] const int unused = ::setpriority(PRIO_PROCESS, thread, kNice);
}

void start_at_low_priority(const std::function<void()>& start) {
  std::thread([&start] {
    lower_own_priority();
    start();
  }).join();
}

}  // namespace layerscope

#include "engine/base/memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace layerscope {
namespace {

/// The smallest memory.max from this process's control group up to the root; 0: no limit.
std::uint64_t group_limit() {
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  std::uint64_t least = 0;
  while (std::getline(groups, line)) {
    if (line.rfind("0::", 0) != 0) {
      continue;  // version 1
    }
    for (std::string path = line.substr(3);; path.erase(path.find_last_of('/'))) {
      std::ifstream file("/sys/fs/cgroup" + path + "/memory.max");
      std::uint64_t bytes = 0;
      if (file >> bytes && bytes > 0) {  // "max" is no number
        least = least == 0 ? bytes : std::min(least, bytes);
      }
      if (path.find('/') == std::string::npos) {
        break;
      }
    }
  }
  return least;
}

}  // namespace

std::uint64_t usable_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  const std::uint64_t physical =
      pages > 0 && page > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page)
                            : 0;
  const std::uint64_t group = group_limit();
  return group > 0 && (physical == 0 || group < physical) ? group : physical;
}

}  // namespace layerscope

// How much memory the machine has for this process. Any thread.
#pragma once

#include <cstdint>

namespace layerscope {

/// Bytes of physical memory that this process may use: the machine's, or its control group's limit
/// where that is smaller (Linux, cgroup v2). 0 where the system does not tell.
std::uint64_t usable_memory();

}  // namespace layerscope

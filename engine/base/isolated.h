// run_isolated: runs untrusted work that offers no hook of its own (a template engine, say) where
// it can do no harm: in a forked process with limits that the kernel enforces.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "engine/base/result.h"

namespace layerscope {

struct IsolatedLimits {
  std::chrono::milliseconds time{5000};  ///< of the processor; four times that on the wall
  std::uint64_t memory = std::uint64_t{512} << 20U;
  std::uint64_t output = std::uint64_t{16} << 20U;
  std::size_t stack = std::size_t{8} << 20U;  ///< reserved, used as needed
};

/// What `body` gives. It runs in a copy of this process that has one thread and no files but the
/// standard streams, which lead nowhere: it must take no lock that another thread may hold, and
/// what it changes is lost. May be called from any thread; returns within `limits.time` and a
/// little. Errors: what `body` gives; kInvalidInput with the text of an exception that it throws,
/// or a sentence's end ("needs more than 5 s", "needs more than 512 MiB", "ended with signal 11:
/// …"); kInternal when no process can be made.
Result<std::string> run_isolated(const IsolatedLimits& limits,
                                 const std::function<Result<std::string>()>& body);

}  // namespace layerscope

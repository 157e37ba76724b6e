#include "engine/base/thread_pool.h"

#include <algorithm>

namespace layerscope {
namespace {

/// Polls before sleeping. On the machine where it was tuned a poll takes about 40 ns, so a worker
/// stays awake some 80 µs: longer than the gap between two loops of a decode step.
constexpr int kSpins = 2000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int n_threads) {
  if (n_threads <= 0) {
    n_threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  }
  workers_.reserve(static_cast<std::size_t>(n_threads - 1));
  for (int i = 1; i < n_threads; ++i) {
    workers_.emplace_back([this] { worker_loop(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  for (auto& worker : workers_) {
    worker.join();
  }
}

void ThreadPool::take_parts(std::uint64_t generation) {
  const std::uint64_t tag = (generation & 0xFFFFFFFFU) << 32U;
  for (;;) {
    std::uint64_t current = next_.load(std::memory_order_acquire);
    if ((current & 0xFFFFFFFF00000000U) != tag) {
      return;  // that loop is over
    }
    const int part = static_cast<int>(current & 0xFFFFFFFFU);
    if (part >= n_parts_.load(std::memory_order_relaxed)) {
      return;
    }
    if (next_.compare_exchange_weak(current, current + 1, std::memory_order_acq_rel)) {
      (*body_)(part);
      unfinished_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }
}

void ThreadPool::worker_loop() {
  std::uint64_t seen = 0;
  for (;;) {
    for (int i = 0; i < kSpins && generation_.load(std::memory_order_acquire) == seen; ++i) {
      relax();
    }
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
      seen = generation_.load(std::memory_order_relaxed);
      if (stopping_) {
        return;
      }
      active_.fetch_add(1, std::memory_order_relaxed);
    }
    take_parts(seen);
    active_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadPool::run(int n_parts, const std::function<void(int)>& body) {
  if (n_parts <= 0) {
    return;
  }
  if (n_parts == 1 || workers_.empty()) {
    for (int part = 0; part < n_parts; ++part) {
      body(part);
    }
    return;
  }
  std::uint64_t generation = 0;
  {
    const std::lock_guard lock(mutex_);
    // A worker that woke late may still look at the previous loop's counters; none can enter now.
    while (active_.load(std::memory_order_acquire) > 0) {
      relax();
    }
    body_ = &body;
    generation = generation_.load(std::memory_order_relaxed) + 1;
    n_parts_.store(n_parts, std::memory_order_relaxed);
    unfinished_.store(n_parts, std::memory_order_relaxed);
    next_.store((generation & 0xFFFFFFFFU) << 32U, std::memory_order_release);
    generation_.store(generation, std::memory_order_release);
  }
  wake_.notify_all();
  take_parts(generation);
  // Wait for the parts, and for workers that still look at body_: it dies when this call returns.
  while (unfinished_.load(std::memory_order_acquire) > 0 ||
         active_.load(std::memory_order_acquire) > 0) {
    relax();
  }
}

void ThreadPool::run_ranges(std::size_t count, std::size_t min_chunk,
                            const std::function<void(std::size_t, std::size_t)>& body) {
  if (count == 0) {
    return;
  }
  const std::size_t most = std::max<std::size_t>(1, count / std::max<std::size_t>(1, min_chunk));
  const std::size_t parts = std::min<std::size_t>(most, static_cast<std::size_t>(size()));
  if (parts == 1) {
    body(0, count);
    return;
  }
  run(static_cast<int>(parts), [&](int part) {
    const auto p = static_cast<std::size_t>(part);
    body(count * p / parts, count * (p + 1) / parts);
  });
}

}  // namespace layerscope

// A fixed pool that runs one parallel loop at a time and sleeps when idle.
//
// Owner: one thread at a time calls `run`; the workers belong to the pool. Idle workers wait on a
// condition variable after a short spin, so an idle pool uses no processor time while a decode step
// (many short loops back to back) does not pay for a wake-up each time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace layerscope {

class ThreadPool {
 public:
  /// `n_threads` counts the calling thread; 0 means all hardware threads.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Number of threads that take part in a loop, the caller included (≥ 1).
  [[nodiscard]] int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls `body(part)` for part in [0, n_parts), spread over the threads; returns when all are
  /// done. Which thread runs which part is not fixed; results must not depend on it. `body` must
  /// not throw.
  void run(int n_parts, const std::function<void(int)>& body);

  /// Splits [0, count) into contiguous ranges of at least `min_chunk` and calls `body(begin, end)`.
  void run_ranges(std::size_t count, std::size_t min_chunk,
                  const std::function<void(std::size_t, std::size_t)>& body);

 private:
  void worker_loop();
  void take_parts(std::uint64_t generation);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> generation_{0};        ///< Raised once per loop.
  const std::function<void(int)>* body_ = nullptr;  ///< Written under mutex_ before generation_.
  std::atomic<std::uint64_t> next_{0};  ///< generation (high 32 bits) | next part (low 32 bits)
  std::atomic<int> n_parts_{0};
  std::atomic<int> unfinished_{0};
  std::atomic<int> active_{0};  ///< Workers inside take_parts.
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace layerscope

// JobQueue: accepted jobs, one at a time to the session, the others waiting in a bounded queue.
//
// Any thread may submit and cancel. One thread of its own hands jobs to the session and keeps the
// time limits. The session must outlive the queue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "engine/server/http_job.h"
#include "engine/session/session.h"

namespace layerscope::server {

struct QueueLimits {
  std::size_t waiting = 16;                ///< jobs that wait, beside the one that runs
  std::chrono::milliseconds run{300000};   ///< longest run of a job
  std::chrono::milliseconds wait{300000};  ///< longest wait for its turn
};

class JobQueue {
 public:
  enum class Submitted { kAccepted, kFull, kDuplicate, kClosed };

  JobQueue(session::Session& session, QueueLimits limits);
  ~JobQueue();  ///< Cancels what is left.
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  /// kDuplicate: a job with that id waits or runs.
  Submitted submit(const std::shared_ptr<HttpJob>& job);
  /// False when no such job waits or runs.
  bool cancel(const std::string& id, CancelReason reason);
  /// The same for a job in hand; nothing happens when it has ended.
  void cancel(const std::shared_ptr<HttpJob>& job, CancelReason reason);

  /// No more jobs. Those that wait are cancelled now; the running one may take `grace`.
  void close(std::chrono::milliseconds grace);

  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] bool running() const;

 private:
  void loop();
  void run(const std::shared_ptr<HttpJob>& job);
  void expire_waiting();

  session::Session& session_;
  const QueueLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<HttpJob>> waiting_;
  std::shared_ptr<HttpJob> running_;
  bool closed_ = false;
  std::chrono::steady_clock::time_point last_end_ = std::chrono::steady_clock::time_point::max();
  std::thread thread_;  ///< last: starts when everything else exists
};

}  // namespace layerscope::server

#include "engine/server/job_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace layerscope::server {
namespace {

using Clock = std::chrono::steady_clock;

/// How often limits are looked at while a job runs.
constexpr std::chrono::milliseconds kTick{50};

}  // namespace

JobQueue::JobQueue(session::Session& session, QueueLimits limits)
    : session_(session), limits_(limits), thread_([this] { loop(); }) {}

JobQueue::~JobQueue() {
  close(std::chrono::milliseconds(0));
  thread_.join();
}

JobQueue::Submitted JobQueue::submit(const std::shared_ptr<HttpJob>& job) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) {
      return Submitted::kClosed;
    }
    const auto same = [&job](const auto& other) {
      return other != nullptr && other->id() == job->id();
    };
    if (same(running_) || std::any_of(waiting_.begin(), waiting_.end(), same)) {
      return Submitted::kDuplicate;
    }
    // A job that can start at once does not wait.
    const std::size_t room = limits_.waiting + (running_ == nullptr ? 1 : 0);
    if (waiting_.size() >= room) {
      return Submitted::kFull;
    }
    waiting_.push_back(job);
  }
  changed_.notify_all();
  return Submitted::kAccepted;
}

void JobQueue::cancel(const std::shared_ptr<HttpJob>& job, CancelReason reason) {
  bool waited = false;
  {
    const std::lock_guard lock(mutex_);
    waited = std::erase(waiting_, job) > 0;
  }
  job->cancel(reason);
  if (waited) {
    job->abandon();
  }
}

bool JobQueue::cancel(const std::string& id, CancelReason reason) {
  std::shared_ptr<HttpJob> job;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](const auto& j) { return j->id() == id; });
    if (found != waiting_.end()) {
      job = *found;
    } else if (running_ != nullptr && running_->id() == id) {
      job = running_;
    }
  }
  if (job == nullptr) {
    return false;
  }
  cancel(job, reason);
  return true;
}

void JobQueue::close(std::chrono::milliseconds grace) {
  std::deque<std::shared_ptr<HttpJob>> left;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    last_end_ = std::min(last_end_, Clock::now() + grace);
    left.swap(waiting_);
  }
  changed_.notify_all();
  for (const auto& job : left) {
    job->cancel(CancelReason::kShutdown);
    job->abandon();
  }
}

std::size_t JobQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

bool JobQueue::running() const {
  const std::lock_guard lock(mutex_);
  return running_ != nullptr;
}

void JobQueue::expire_waiting() {
  std::vector<std::shared_ptr<HttpJob>> late;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& job : waiting_) {
      if (Clock::now() - job->accepted() > limits_.wait) {
        late.push_back(job);
      }
    }
  }
  for (const auto& job : late) {
    cancel(job, CancelReason::kWaitLimit);
  }
}

void JobQueue::run(const std::shared_ptr<HttpJob>& job) {
  const auto limit = Clock::now() + limits_.run;
  session_.send(session::RunJob{job});
  bool told = false;
  while (!job->wait_ended(Clock::now() + kTick)) {
    expire_waiting();
    Clock::time_point end;
    {
      const std::lock_guard lock(mutex_);
      end = last_end_;
    }
    if (Clock::now() > limit) {
      job->cancel(CancelReason::kTimeLimit);
    }
    if (Clock::now() > end) {
      job->cancel(CancelReason::kShutdown);
      if (!std::exchange(told, true)) {
        session_.send(session::Stop{});  // what a window had running stands before the job
      }
    }
  }
}

void JobQueue::loop() {
  for (;;) {
    std::shared_ptr<HttpJob> job;
    {
      std::unique_lock lock(mutex_);
      running_.reset();
      changed_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
      if (waiting_.empty()) {
        return;
      }
      job = std::move(waiting_.front());
      waiting_.pop_front();
      running_ = job;
    }
    run(job);
  }
}

}  // namespace layerscope::server

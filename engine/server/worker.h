// Worker: the HTTP worker — one model, one session, jobs and attached windows over it.
//
// The thread that calls `run` waits for the end; others accept, serve connections, hand jobs to the
// session. The contract is the README's section "The HTTP worker".
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/server/recorder.h"
#include "engine/session/session.h"

namespace layerscope::server {

struct WorkerOptions {
  std::string model;
  std::string host = "127.0.0.1";
  int port = 9999;  ///< 0: any free one
  std::string worker_id;
  std::string callback_url;
  std::string token_file;
  std::size_t queue = 16;             ///< jobs that may wait
  double job_seconds = 300.0;         ///< longest run of a job
  double wait_seconds = 300.0;        ///< longest wait for its turn
  double grace_seconds = 10.0;        ///< what a running job gets when the worker is asked to end
  double requests_per_second = 50.0;  ///< of POST /execute and /cancel, per address; 0: no limit
  double requests_burst = 200.0;
  double window_mib_s = 16.0;  ///< bandwidth of one attached window
  bool log_text = false;       ///< prompts and outputs may be logged
  MakeRecorder make_recorder;  ///< absent: jobs cannot be saved
  session::SessionOptions session;
};

class Worker {
 public:
  explicit Worker(WorkerOptions options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Checks the options, binds, loads the model, listens, calls back. Errors: kUsage (options, a
  /// taken port), kInvalidInput (model, token file), kDevice.
  Status start();
  [[nodiscard]] const std::string& endpoint() const;  ///< "http://127.0.0.1:9999"
  /// No more jobs; the running one gets its grace, every stream its terminal event.
  void shut_down();
  /// From any thread, also during `shut_down`: the running job is cancelled now.
  void hurry();

 private:
  class Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace layerscope::server

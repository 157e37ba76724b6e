// HttpJob: one POST /execute between its connection and the session's worker.
//
// The session calls the session::Job part on its worker thread; `cancel` may come from any thread
// and wins or loses against the job's own end — the stream has one terminal event either way.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>

#include "engine/server/event_stream.h"
#include "engine/server/execute_request.h"
#include "engine/server/metrics.h"
#include "engine/server/recorder.h"
#include "engine/session/job.h"
#include "engine/session/stop_strings.h"

namespace layerscope::server {

/// Why a job is ended from outside.
enum class CancelReason {
  kNone,
  kRequested,     ///< POST /cancel
  kDisconnected,  ///< the client is gone
  kTimeLimit,     ///< it ran too long
  kWaitLimit,     ///< it waited too long
  kShutdown,      ///< the worker ends
};

class HttpJob final : public session::Job {
 public:
  using Clock = std::chrono::steady_clock;

  /// `log_text`: the prompt and the output may be logged.
  HttpJob(ExecuteRequest request, std::string correlation_id, std::string model,
          MakeRecorder make_recorder, Metrics& metrics, bool log_text);

  [[nodiscard]] const std::string& id() const { return request_.job_id; }
  [[nodiscard]] const std::string& correlation_id() const { return correlation_id_; }
  [[nodiscard]] EventStream& stream() { return stream_; }
  [[nodiscard]] Clock::time_point accepted() const { return accepted_; }

  /// The first reason counts. A job that has not been given to the session also needs `abandon`.
  void cancel(CancelReason reason);
  /// Ends a job that the session never got.
  void abandon();
  /// Waits until `deadline`; true when the job has ended.
  bool wait_ended(Clock::time_point deadline);

  // session::Job
  [[nodiscard]] const session::JobSettings& settings() const override { return request_.settings; }
  [[nodiscard]] std::stop_token stop_token() const override { return stop_.get_token(); }
  void started(const session::Snapshot& state) override;
  bool token(std::int32_t id, bool last) override;
  void findings(const std::vector<diagnose::Finding>& all) override;
  void record(session::Generator& generator, const session::Snapshot& state) override;
  void ended(const Status& status, const session::JobEnd& end) override;

 private:
  [[nodiscard]] nlohmann::ordered_json started_event() const;
  void send_metrics();
  void finish(const Status& status, const session::JobEnd& end);
  void mark_ended();

  const ExecuteRequest request_;
  const std::string correlation_id_, model_;
  const MakeRecorder make_recorder_;
  Metrics& metrics_;
  const bool log_text_;
  const Clock::time_point accepted_ = Clock::now();
  EventStream stream_;
  std::stop_source stop_;
  std::atomic<CancelReason> reason_{CancelReason::kNone};

  // The session's worker thread only:
  std::unique_ptr<tokenizer::StreamDecoder> decoder_;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  session::StopStrings stops_;
  std::unique_ptr<JobRecorder> recorder_;
  Status recorder_status_;
  std::set<std::string> told_;  ///< causes already streamed
  std::string output_;          ///< only where it may be logged
  int n_out_ = 0;
  std::uint64_t device_bytes_ = 0;
  Clock::time_point begun_, metrics_sent_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

/// The words that a client reads.
const char* cancel_message(CancelReason reason);

}  // namespace layerscope::server

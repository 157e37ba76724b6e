// Routes: what each path of the HTTP worker answers. Handlers run on the server's threads.
#pragma once

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <string>

#include "engine/server/auth.h"
#include "engine/server/http_server.h"
#include "engine/server/job_queue.h"
#include "engine/server/limits.h"
#include "engine/server/metrics.h"
#include "engine/server/worker.h"

namespace layerscope::server {

class Windows;

class Routes {
 public:
  /// Everything must outlive the server's threads. `token`: empty when none is asked for.
  Routes(HttpServer& server, session::Session& session, JobQueue& queue, Metrics& metrics,
         Windows& windows, const WorkerOptions& options, std::string token);

  /// From now on jobs are refused and /health says so.
  void drain() { draining_ = true; }
  /// Event streams that still have something to send.
  [[nodiscard]] int open_streams() const { return open_streams_; }

 private:
  using Request = httplib::Request;
  using Response = httplib::Response;

  bool admit(const Request& request, Response& response);
  bool admit_caller(const Request& request, Response& response);
  void finish_head(const Request& request, Response& response);
  void health(Response& response) const;
  void metrics_text(Response& response) const;
  void execute(const Request& request, Response& response, const std::string& body);
  void cancel(Response& response, const std::string& body);
  void attach(const Request& request, Response& response);
  void stream(const std::shared_ptr<HttpJob>& job, Response& response);
  void log(const Request& request, const Response& response);

  HttpServer& server_;
  session::Session& session_;
  JobQueue& queue_;
  Metrics& metrics_;
  Windows& windows_;
  const WorkerOptions& options_;
  const std::string token_;
  const std::chrono::steady_clock::time_point ready_ = std::chrono::steady_clock::now();
  RateLimiter requests_, failed_logins_;
  std::atomic<bool> draining_{false};
  std::atomic<int> open_streams_{0};
};

/// The request's own X-Correlation-ID where it is fit for headers and logs, else a new random one.
std::string correlation_id(const std::string& given);

}  // namespace layerscope::server

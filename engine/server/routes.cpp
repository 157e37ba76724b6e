#include "engine/server/routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "engine/server/window_protocol.h"
#include "engine/server/windows.h"

namespace layerscope::server {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr const char* kJson = "application/json";
constexpr const char* kCorrelation = "X-Correlation-ID";
/// How often a silent stream looks whether its client is still there.
constexpr std::chrono::milliseconds kLookTime{100};

void answer(httplib::Response& response, int status, const ordered_json& body) {
  response.status = status;
  response.set_content(body.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n",
                       kJson);
}

void fail(httplib::Response& response, int status, std::string_view code,
          std::string_view message) {
  answer(response, status, {{"error", {{"code", code}, {"message", message}}}});
}

void retry_later(httplib::Response& response) {
  response.set_header("Retry-After", std::to_string(kRetryAfter.count()));
}

std::size_t content_length(const httplib::Request& request) {
  const std::string text = request.get_header_value("Content-Length");
  std::size_t n = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), n);
  return failed == std::errc() && end == text.data() + text.size() ? n : 0;
}

/// Reads a body of at most kMaxBodyBytes, unpacked; answers when that fails.
bool read_body(const httplib::ContentReader& reader, std::string& body,
               httplib::Response& response) {
  bool too_large = false;
  const bool whole = reader([&](const char* data, std::size_t n) {
    too_large = body.size() + n > kMaxBodyBytes;
    if (!too_large) {
      body.append(data, n);
    }
    return !too_large;
  });
  if (too_large) {
    fail(response, 413, "TOO_LARGE", fmt::format("a body holds at most {} bytes", kMaxBodyBytes));
  } else if (!whole) {
    fail(response, 408, "INCOMPLETE", "the body did not arrive completely in time");
  }
  return whole && !too_large;
}

}  // namespace

std::string correlation_id(const std::string& given) {
  const bool fit =
      !given.empty() && given.size() <= 128 && std::all_of(given.begin(), given.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               c == '-' || c == '_' || c == '.' || c == ':';
      });
  if (fit) {
    return given;
  }
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

Routes::Routes(HttpServer& server, session::Session& session, JobQueue& queue, Metrics& metrics,
               Windows& windows, const WorkerOptions& options, std::string token)
    : server_(server),
      session_(session),
      queue_(queue),
      metrics_(metrics),
      windows_(windows),
      options_(options),
      token_(std::move(token)),
      requests_(options.requests_per_second, options.requests_burst, kMaxClients),
      failed_logins_(kFailedLoginsPerSecond, kFailedLoginsBurst, kMaxClients) {
  using HandlerResponse = httplib::Server::HandlerResponse;
  server_.set_pre_routing_handler([this](const Request& request, Response& response) {
    response.set_header(kCorrelation, correlation_id(request.get_header_value(kCorrelation)));
    return admit(request, response) ? HandlerResponse::Unhandled : HandlerResponse::Handled;
  });
  server_.set_post_routing_handler([this](const Request& q, Response& r) { finish_head(q, r); });
  server_.set_error_handler([](const Request&, Response& response) {
    if (response.body.empty() && response.status == 404) {
      fail(response, 404, "NOT_FOUND",
           "there are GET /health, GET /metrics, POST /execute, POST /cancel and GET /session");
    }
  });
  server_.set_exception_handler([](const Request&, Response& response, const std::exception_ptr&) {
    fail(response, 500, "INTERNAL", "the worker failed to answer; its log may say why");
  });
  server_.set_logger([this](const Request& q, const Response& r) { log(q, r); });
  server_.Get("/health", [this](const Request&, Response& r) { health(r); });
  server_.Get("/metrics", [this](const Request&, Response& r) { metrics_text(r); });
  server_.Get("/session", [this](const Request& q, Response& r) { attach(q, r); });
  server_.Post("/execute", [this](const Request& q, Response& r, const httplib::ContentReader& in) {
    std::string body;
    if (read_body(in, body, r)) {
      execute(q, r, body);
    }
  });
  server_.Post("/cancel", [this](const Request&, Response& r, const httplib::ContentReader& in) {
    std::string body;
    if (read_body(in, body, r)) {
      cancel(r, body);
    }
  });
}

bool Routes::admit_caller(const Request& request, Response& response) {
  if (token_.empty()) {
    if (is_local_request(request.get_header_value("Host"), request.get_header_value("Origin"))) {
      return true;
    }
    fail(response, 403, "FORBIDDEN",
         "without a token this worker answers requests to and from its own machine only");
    return false;
  }
  if (!failed_logins_.has(request.remote_addr)) {
    retry_later(response);
    fail(response, 429, "TOO_MANY_REQUESTS", "too many wrong tokens from this address");
    return false;
  }
  if (bearer_matches(request.get_header_value("Authorization"), token_)) {
    return true;
  }
  failed_logins_.allow(request.remote_addr);
  response.set_header("WWW-Authenticate", "Bearer");
  fail(response, 401, "UNAUTHORIZED", "send the worker's token as 'Authorization: Bearer TOKEN'");
  return false;
}

/// Everything that can be decided before the body is read.
bool Routes::admit(const Request& request, Response& response) {
  if (!admit_caller(request, response)) {
    return false;
  }
  if (request.method != "POST") {
    return true;
  }
  if (!requests_.allow(request.remote_addr)) {
    retry_later(response);
    fail(response, 429, "TOO_MANY_REQUESTS", "too many requests from this address");
    return false;
  }
  if (content_length(request) > kMaxBodyBytes) {
    fail(response, 413, "TOO_LARGE", fmt::format("a body holds at most {} bytes", kMaxBodyBytes));
    return false;
  }
  if (request.is_multipart_form_data()) {
    fail(response, 415, "NOT_JSON", "send the body as application/json");
    return false;
  }
  return true;
}

/// The last word on the headers: one request per connection.
void Routes::finish_head(const Request& /*request*/, Response& response) {
  response.headers.erase("Keep-Alive");
  response.headers.erase("Connection");
  if (response.status == 101) {
    response.headers.erase("Content-Length");
    response.headers.erase("Content-Type");
    response.headers.erase("Accept-Ranges");
    response.set_header("Connection", "Upgrade");
    return;
  }
  response.set_header("Connection", "close");
  response.set_header("Cache-Control", "no-store");
  response.set_header("X-Content-Type-Options", "nosniff");
}

void Routes::health(Response& response) const {
  const auto state = session_.snapshot();
  answer(response, 200,
         {{"status", draining_ ? "shutting_down" : "healthy"},
          {"model", state->model->name},
          {"backend", state->backend},
          {"vram_bytes", state->device_bytes},
          {"resident", true},
          {"uptime_s", std::chrono::duration<double>(Clock::now() - ready_).count()}});
}

void Routes::metrics_text(Response& response) const {
  Gauges now;
  now.waiting = queue_.waiting();
  now.running = queue_.running();
  now.connections = server_.connections();
  now.windows = windows_.count();
  now.device_bytes = session_.snapshot()->device_bytes;
  now.uptime_s = std::chrono::duration<double>(Clock::now() - ready_).count();
  response.set_content(metrics_.text(now), "text/plain; version=0.0.4");
}

void Routes::execute(const Request& /*request*/, Response& response, const std::string& body) {
  ParsedRequest parsed = parse_execute(body, options_.make_recorder != nullptr);
  if (!parsed.errors.empty()) {
    response.status = 400;
    response.set_content(errors_json(parsed.errors) + "\n", kJson);
    return;
  }
  const std::string correlation = response.get_header_value(kCorrelation);
  const std::string id = parsed.request.job_id;
  auto job = std::make_shared<HttpJob>(std::move(parsed.request), correlation,
                                       session_.snapshot()->model->name, options_.make_recorder,
                                       metrics_, options_.log_text);
  switch (queue_.submit(job)) {
    case JobQueue::Submitted::kAccepted:
      spdlog::info("job '{}' [{}]: accepted", utf8_escape(id), correlation);
      stream(job, response);
      return;
    case JobQueue::Submitted::kFull:
      retry_later(response);
      fail(response, 503, "QUEUE_FULL", "the queue is full; try again later");
      return;
    case JobQueue::Submitted::kClosed:
      retry_later(response);
      fail(response, 503, "SHUTTING_DOWN", "the worker is shutting down");
      return;
    case JobQueue::Submitted::kDuplicate:
      response.status = 400;
      response.set_content(
          errors_json({{"job_id", "unique", "a job with this job_id already waits or runs", id}}) +
              "\n",
          kJson);
      return;
  }
}

void Routes::stream(const std::shared_ptr<HttpJob>& job, Response& response) {
  response.status = 200;
  ++open_streams_;
  ++metrics_.streams;
  auto last = std::make_shared<Clock::time_point>(Clock::now());
  auto whole = std::make_shared<bool>(false);
  const auto provide = [this, job, last, whole](std::size_t /*offset*/, httplib::DataSink& sink) {
    if (!sink.is_writable()) {
      return false;
    }
    EventStream::Piece piece = job->stream().take(kLookTime, kWriteBytes);
    const auto now = Clock::now();
    if (piece.text.empty() && now - *last >= kKeepAliveComment) {
      piece.text = ": waiting\n\n";  // a comment: proxies keep the connection open
    }
    if (!piece.text.empty()) {
      *last = now;
      if (!sink.write(piece.text.data(), piece.text.size())) {
        return false;
      }
    }
    if (piece.finished) {
      *whole = true;
      sink.done();
    }
    return true;
  };
  response.set_chunked_content_provider("text/event-stream", provide, [this, job, whole](bool) {
    if (!*whole) {
      ++metrics_.streams_cut;
      queue_.cancel(job, CancelReason::kDisconnected);
    }
    --open_streams_;
  });
}

void Routes::cancel(Response& response, const std::string& body) {
  const ParsedCancel parsed = parse_cancel(body);
  if (!parsed.errors.empty()) {
    response.status = 400;
    response.set_content(errors_json(parsed.errors) + "\n", kJson);
  } else if (queue_.cancel(parsed.job_id, CancelReason::kRequested)) {
    answer(response, 202, {{"job_id", parsed.job_id}, {"status", "cancelling"}});
  } else {
    fail(response, 404, "NOT_FOUND", "no job with this job_id waits or runs");
  }
}

void Routes::attach(const Request& request, Response& response) {
  Connection* connection = server_.connection_of(request);
  if (connection == nullptr || request.get_header_value("Upgrade") != kWindowProtocol) {
    response.set_header("Upgrade", kWindowProtocol);
    fail(response, 426, "UPGRADE_REQUIRED",
         "windows attach here: layerscope --attach URL speaks this protocol");
  } else if (draining_ || !windows_.reserve()) {
    retry_later(response);
    fail(response, 503, "TOO_MANY_WINDOWS",
         fmt::format("at most {} windows can be attached", kMaxWindows));
  } else {
    response.status = 101;
    response.set_header("Upgrade", kWindowProtocol);
    connection->upgrade();
  }
}

void Routes::log(const Request& request, const Response& response) {
  constexpr std::string_view kPaths[] = {"/health", "/metrics", "/execute", "/cancel", "/session"};
  const bool own =
      std::find(std::begin(kPaths), std::end(kPaths), request.path) != std::end(kPaths);
  const std::string path = own ? request.path : "other";
  metrics_.request(path, response.status);
  spdlog::debug("{} {} from {} [{}]: {}", utf8_escape(request.method), path, request.remote_addr,
                response.get_header_value(kCorrelation), response.status);
}

}  // namespace layerscope::server

#include "engine/server/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "engine/base/log.h"
#include "engine/server/callback.h"
#include "engine/server/http_server.h"
#include "engine/server/routes.h"
#include "engine/server/token.h"
#include "engine/server/url.h"
#include "engine/server/windows.h"

namespace layerscope::server {
namespace {

using Clock = std::chrono::steady_clock;

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<long>(std::clamp(seconds, 0.0, 1e6) * 1000.0));
}

}  // namespace

/// Destruction runs backwards through the members; `shut_down` has ended all activity before, in
/// the order that keeps every stream whole.
class Worker::Parts {
 public:
  explicit Parts(WorkerOptions given) : options(std::move(given)) {}
  ~Parts() { shut_down(milliseconds(0.0)); }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  Status start();
  void shut_down(std::chrono::milliseconds grace);

  WorkerOptions options;
  std::string endpoint;
  Metrics metrics;
  std::unique_ptr<Windows> windows;  // notified by the session until that is gone
  std::unique_ptr<session::Session> session;
  std::unique_ptr<JobQueue> queue;
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<Routes> routes;
  std::unique_ptr<Callback> callback;
  std::thread accepting;
  bool ended = false;

 private:
  Status load();
};

Status Worker::Parts::load() {
  session::SessionOptions wanted = options.session;
  wanted.log_errors = false;  // they are answers to clients and windows
  wanted.on_change = [this] {
    if (windows != nullptr) {
      windows->notify();
    }
  };
  session = std::make_unique<session::Session>(std::move(wanted));
  session->send(session::LoadModel{options.model});
  session->wait_idle();
  const auto state = session->snapshot();
  if (state->model == nullptr) {
    return Error{state->error_code, state->error};
  }
  return {};
}

Status Worker::Parts::start() {
  std::string token;
  if (!options.token_file.empty()) {
    LS_TRY(token, read_token(options.token_file));
  } else if (!is_loopback(options.host)) {
    return usage_error(
        fmt::format("--host {} is open to other machines: give --token-file F with a bearer token",
                    options.host));
  }
  Url callback_url;
  if (!options.callback_url.empty()) {
    auto parsed = parse_url(options.callback_url);
    if (!parsed.ok()) {
      return parsed.error().with_context("--callback-url");
    }
    callback_url = std::move(parsed).value();
  }
  const int threads = static_cast<int>(options.queue) + 1 + kMaxWindows + kSpareThreads;
  server = std::make_unique<HttpServer>(threads, [this](Connection& c) { windows->serve(c); });
  LS_TRY(const int port, server->bind(options.host, options.port));
  endpoint = Url{false, options.host, port, "/"}.origin();
  LS_CHECK(load());
  windows = std::make_unique<Windows>(*session, metrics, options.window_mib_s * 1024.0 * 1024.0);
  queue = std::make_unique<JobQueue>(*session,
                                     QueueLimits{options.queue, milliseconds(options.job_seconds),
                                                 milliseconds(options.wait_seconds)});
  routes = std::make_unique<Routes>(*server, *session, *queue, metrics, *windows, options, token);
  accepting = std::thread([this] { server->serve(); });
  while (!server->is_running()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (!options.callback_url.empty()) {
    const auto state = session->snapshot();
    const nlohmann::ordered_json body{{"worker_id", options.worker_id},
                                      {"endpoint", endpoint},
                                      {"model", state->model->name},
                                      {"vram_bytes", state->device_bytes}};
    callback = std::make_unique<Callback>(callback_url, body.dump());
  }
  return {};
}

void Worker::Parts::shut_down(std::chrono::milliseconds grace) {
  if (std::exchange(ended, true)) {
    return;
  }
  callback.reset();
  if (routes != nullptr) {
    routes->drain();
  }
  if (queue != nullptr) {
    queue->close(grace);
    while (queue->running()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  // Every stream has its terminal event now; clients get a moment to take theirs.
  const auto patience = Clock::now() + std::chrono::seconds(5);
  while (routes != nullptr && routes->open_streams() > 0 && Clock::now() < patience) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (windows != nullptr) {
    windows->close();
  }
  if (accepting.joinable()) {
    server->stop();
    server->abort_connections();
    accepting.join();
  }
}

Worker::Worker(WorkerOptions options) : parts_(std::make_unique<Parts>(std::move(options))) {}
Worker::~Worker() = default;
Status Worker::start() { return parts_->start(); }
const std::string& Worker::endpoint() const { return parts_->endpoint; }
void Worker::shut_down() { parts_->shut_down(milliseconds(parts_->options.grace_seconds)); }
void Worker::hurry() { parts_->queue->close(milliseconds(0.0)); }

}  // namespace layerscope::server

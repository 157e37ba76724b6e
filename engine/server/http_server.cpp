#include "engine/server/http_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <vector>

#include "engine/base/log.h"
#include "engine/server/limits.h"

namespace layerscope::server {
namespace {

constexpr int kBacklog = 256;

/// A fixed pool whose list is bounded: beyond it the accepting thread takes the connection itself,
/// which means that it is refused.
class BoundedPool final : public httplib::TaskQueue {
 public:
  explicit BoundedPool(int threads) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { loop(); });
    }
  }

  void enqueue(std::function<void()> task) override {
    {
      const std::lock_guard lock(mutex_);
      if (tasks_.size() < kMaxPending) {
        tasks_.push_back(std::move(task));
        changed_.notify_one();
        return;
      }
    }
    task();
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
      thread.join();
    }
    threads_.clear();
  }

 private:
  void loop() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ended_ || !tasks_.empty(); });
        if (tasks_.empty()) {
          return;
        }
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

/// Written by the accepting thread, which must not wait for anybody.
void refuse(int fd) {
  const std::string answer = fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: {}\r\nConnection: close\r\n"
      "Content-Length: 0\r\n\r\n",
      kRetryAfter.count());
  if (::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    ::shutdown(fd, SHUT_WR);
  }
}

}  // namespace

HttpServer::HttpServer(int threads, Upgraded upgraded)
    : threads_(threads), upgraded_(std::move(upgraded)) {
  new_task_queue = [this] { return new BoundedPool(threads_); };  // NOLINT: httplib deletes it
  // httplib's own choice, SO_REUSEPORT, would let two workers share one port silently.
  set_socket_options([](socket_t sock) {
    const int yes = 1;
    ::setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
}

Result<int> HttpServer::bind(const std::string& host, int port) {
  const int bound = port == 0 ? bind_to_any_port(host) : (bind_to_port(host, port) ? port : -1);
  if (bound <= 0) {
    return usage_error(
        fmt::format("cannot listen on {}:{} ({}); choose another --host or --port", host, port,
                    std::strerror(errno)));  // NOLINT(concurrency-mt-unsafe): one thread so far
  }
  ::listen(svr_sock_, kBacklog);  // httplib's backlog is 5
  return bound;
}

void HttpServer::serve() {
  acceptor_ = std::this_thread::get_id();
  listen_after_bind();
}

void HttpServer::abort_connections() {
  const std::lock_guard lock(mutex_);
  for (Connection* connection : all_) {
    connection->abort();
  }
}

Connection* HttpServer::connection_of(const httplib::Request& request) {
  const std::lock_guard lock(mutex_);
  const auto found = by_request_.find(&request);
  return found == by_request_.end() ? nullptr : found->second;
}

void HttpServer::serve_connection(Connection& connection) {
  const httplib::Request* request = nullptr;
  bool closed = false;
  process_request(connection, false, closed, [&](httplib::Request& r) {
    connection.head_done();
    r.ranges.clear();
    r.headers.erase("Accept-Encoding");  // events must leave at once, not when a buffer is full
    r.headers.erase("Connection");
    request = &r;
    const std::lock_guard lock(mutex_);
    by_request_[&r] = &connection;
  });
  {
    const std::lock_guard lock(mutex_);
    by_request_.erase(request);
  }
  if (connection.upgraded()) {
    upgraded_(connection);
  }
}

bool HttpServer::process_and_close_socket(socket_t sock) {
  Connection connection(sock, kRequestTime);
  if (std::this_thread::get_id() == acceptor_.load()) {
    refuse(sock);
    return false;
  }
  const int yes = 1;
  ::setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  ++open_;
  {
    const std::lock_guard lock(mutex_);
    all_.insert(&connection);
  }
  try {
    serve_connection(connection);
    connection.linger();
  } catch (const std::exception& error) {  // out of memory, a library's own exceptions
    spdlog::error("a connection failed: {}", error.what());
  }
  {
    const std::lock_guard lock(mutex_);
    all_.erase(&connection);
  }
  --open_;
  return true;
}

}  // namespace layerscope::server

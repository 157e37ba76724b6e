// HttpServer: cpp-httplib's parser and router over our own connections and threads.
//
// A fixed number of threads serves connections, a bounded number waits for one; what comes beyond
// is answered 503 at once. Every connection carries one request: nothing of a refused body can be
// taken for the next request.
#pragma once

#include <httplib.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "engine/base/result.h"
#include "engine/server/connection.h"

namespace layerscope::server {

class HttpServer final : public httplib::Server {
 public:
  /// Serves an upgraded connection; returns when that has ended.
  using Upgraded = std::function<void(Connection&)>;

  HttpServer(int threads, Upgraded upgraded);
  ~HttpServer() override = default;

  /// Binds at once, so that a taken port is told before a model is loaded. Port 0: any free one.
  /// Returns the port. Error (kUsage).
  Result<int> bind(const std::string& host, int port);
  /// Serves until `stop` on the calling thread, which becomes the one that accepts.
  void serve();
  /// Ends all connections at once (after `stop`).
  void abort_connections();
  [[nodiscard]] int connections() const { return open_; }

  /// The connection that a handler's request came on.
  Connection* connection_of(const httplib::Request& request);

 private:
  bool process_and_close_socket(socket_t sock) override;
  void serve_connection(Connection& connection);

  const int threads_;
  const Upgraded upgraded_;
  std::atomic<std::thread::id> acceptor_{};
  std::atomic<int> open_{0};
  std::mutex mutex_;
  std::set<Connection*> all_;
  std::map<const httplib::Request*, Connection*> by_request_;
};

}  // namespace layerscope::server

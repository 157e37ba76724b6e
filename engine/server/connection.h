// Connection: one accepted socket, with time and size limits that hold whatever the client does.
//
// cpp-httplib reads and writes HTTP through it; an attached window's protocol uses it directly once
// the connection was upgraded. One thread at a time, except `abort`, which any thread may call.
#pragma once

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>

namespace layerscope::server {

class Connection final : public httplib::Stream {
 public:
  using Clock = std::chrono::steady_clock;

  /// Takes over `fd`. The request must have arrived within `request_time`.
  Connection(int fd, std::chrono::milliseconds request_time);
  ~Connection() override;  ///< Closes the socket.
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // httplib::Stream
  [[nodiscard]] bool is_readable() const override;
  /// False once the client is gone.
  [[nodiscard]] bool is_writable() const override;
  ssize_t read(char* data, std::size_t size) override;
  ssize_t write(const char* data, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  [[nodiscard]] socket_t socket() const override { return fd_; }

  /// The request's head is complete: the limit on its size ends.
  void head_done() { head_done_ = true; }
  /// From now on the connection carries a window's protocol: no limit on the time to read.
  void upgrade() { upgraded_ = true; }
  [[nodiscard]] bool upgraded() const { return upgraded_; }
  /// Bytes that were read ahead of what httplib took.
  std::string take_buffered();
  /// Ends reading and writing at once.
  void abort();
  /// Says goodbye: the client gets what was written even if it still sends.
  void linger();

 private:
  bool wait_for(short events, Clock::time_point deadline) const;

  const int fd_;
  const Clock::time_point request_deadline_;
  std::atomic<bool> aborted_{false};
  bool head_done_ = false;
  bool upgraded_ = false;
  std::size_t head_bytes_ = 0;
  std::array<char, 4096> buffer_{};
  std::size_t begin_ = 0, end_ = 0;  ///< of buffer_
};

}  // namespace layerscope::server

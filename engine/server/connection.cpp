#include "engine/server/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/server/limits.h"

namespace layerscope::server {
namespace {

/// Longest sleep in poll, so that `abort` is noticed even where shutdown does not wake it.
constexpr std::chrono::milliseconds kPollTime{200};

void name_of(const sockaddr_storage& address, std::string& ip, int& port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    port = ntohs(v6.sin6_port);
  }
  ip = text.data();
}

}  // namespace

Connection::Connection(int fd, std::chrono::milliseconds request_time)
    : fd_(fd), request_deadline_(Clock::now() + request_time) {}

Connection::~Connection() { ::close(fd_); }

bool Connection::wait_for(short events, Clock::time_point deadline) const {
  while (!aborted_) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      return false;
    }
    pollfd item{fd_, events, 0};
    const int n = ::poll(&item, 1, static_cast<int>(std::min(left, kPollTime).count()) + 1);
    if (n > 0) {
      return (item.revents & (events | POLLHUP | POLLERR)) != 0;
    }
    if (n < 0 && errno != EINTR) {
      return false;
    }
  }
  return false;
}

bool Connection::is_readable() const {
  return begin_ < end_ || wait_for(POLLIN, request_deadline_);
}

bool Connection::is_writable() const {
  if (aborted_) {
    return false;
  }
  // POLLRDHUP: the client closed its side; clients of streams do that only when they leave.
  pollfd item{fd_, POLLOUT | POLLRDHUP, 0};
  return ::poll(&item, 1, 0) >= 0 && (item.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0;
}

ssize_t Connection::read(char* data, std::size_t size) {
  if (begin_ == end_) {
    if (!wait_for(POLLIN, upgraded_ ? Clock::time_point::max() : request_deadline_)) {
      return -1;
    }
    const ssize_t n = ::recv(fd_, buffer_.data(), buffer_.size(), 0);
    if (n <= 0) {
      return n;
    }
    begin_ = 0;
    end_ = static_cast<std::size_t>(n);
  }
  const std::size_t n = std::min(size, end_ - begin_);
  if (!head_done_ && (head_bytes_ += n) > kMaxHeadBytes) {
    return -1;
  }
  std::memcpy(data, buffer_.data() + begin_, n);
  begin_ += n;
  return static_cast<ssize_t>(n);
}

ssize_t Connection::write(const char* data, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    // A client that takes less than kWriteBytes in kWriteTime is given up.
    const auto deadline = Clock::now() + kWriteTime;
    const std::size_t piece_end = std::min(size, done + kWriteBytes);
    while (done < piece_end) {
      if (!wait_for(POLLOUT, deadline)) {
        return -1;
      }
      const ssize_t n = ::send(fd_, data + done, piece_end - done, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        return -1;
      }
      done += n > 0 ? static_cast<std::size_t>(n) : 0U;
    }
  }
  return static_cast<ssize_t>(size);
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getpeername(fd_, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    name_of(address, ip, port);
  }
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    name_of(address, ip, port);
  }
}

std::string Connection::take_buffered() {
  std::string bytes(buffer_.data() + begin_, end_ - begin_);
  begin_ = end_ = 0;
  return bytes;
}

void Connection::abort() {
  aborted_ = true;
  ::shutdown(fd_, SHUT_RDWR);
}

void Connection::linger() {
  // Closing with unread bytes would reset the connection, and the client might lose the answer.
  ::shutdown(fd_, SHUT_WR);
  const auto deadline = Clock::now() + kLingerTime;
  std::array<char, 4096> rest{};
  while (wait_for(POLLIN, deadline) && ::recv(fd_, rest.data(), rest.size(), MSG_DONTWAIT) > 0) {
  }
}

}  // namespace layerscope::server

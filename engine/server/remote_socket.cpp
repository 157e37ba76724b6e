#include "engine/server/remote_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <utility>

#include "engine/server/window_protocol.h"

namespace layerscope::server {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kConnectTime{5000};
constexpr milliseconds kAnswerTime{10000};
constexpr milliseconds kWriteTime{10000};
constexpr milliseconds kSlice{100};
constexpr std::size_t kMostHead = std::size_t{16} << 10U;

}  // namespace

Status judge_upgrade(std::string_view head) {
  int status = 0;
  if (head.size() >= 12 && head.substr(0, 7) == "HTTP/1.") {
    std::from_chars(head.data() + 9, head.data() + 12, status);
  }
  switch (status) {
    case 101:
      return {};
    case 0:
      return usage_error("what answers there is no HTTP server");
    case 401:
      return usage_error("the worker refused the token; enter the one of its --token-file");
    case 403:
      return usage_error("the worker answers its own machine only");
    case 426:
      return usage_error("the worker speaks another version of the window protocol");
    case 429:
    case 503:
      return device_error("the worker is busy");
    default:
      return usage_error(
          fmt::format("what answers there is no Layerscope worker (HTTP {})", status));
  }
}

RemoteSocket::RemoteSocket() : event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

RemoteSocket::~RemoteSocket() {
  close();
  ::close(event_);
}

void RemoteSocket::close() {
  if (fd_ >= 0) {
    ::close(std::exchange(fd_, -1));
  }
  ahead_.clear();
}

void RemoteSocket::interrupt(bool for_good) {
  if (for_good) {
    quitting_ = true;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(event_, &one, sizeof one);
}

bool RemoteSocket::wait_for(int fd, short events, milliseconds most) const {
  const auto deadline = Clock::now() + most;
  while (!quitting_ && Clock::now() < deadline) {
    pollfd item{fd, events, 0};
    if (::poll(&item, 1, static_cast<int>(kSlice.count())) > 0) {
      return true;
    }
  }
  return false;
}

Status RemoteSocket::connect(const Url& url) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found) != 0) {
    return device_error(fmt::format("there is no host '{}'", url.host));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  for (const addrinfo* a = list.get(); a != nullptr; a = a->ai_next) {
    fd_ = ::socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd_ < 0) {
      continue;
    }
    int error = 0;
    socklen_t size = sizeof error;
    const bool begun = ::connect(fd_, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS;
    if (begun && wait_for(fd_, POLLOUT, kConnectTime) &&
        ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0) {
      const int yes = 1;
      ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      return {};
    }
    close();
  }
  return quitting_ ? cancelled_error()
                   : device_error(fmt::format("nobody answers at {}", url.origin()));
}

Status RemoteSocket::upgrade(const Url& url, const std::string& token) {
  const std::string origin = url.origin();
  std::string request =
      fmt::format("GET /session HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: {}\r\n",
                  origin.substr(origin.find("//") + 2), kWindowProtocol);
  if (!token.empty()) {
    request += fmt::format("Authorization: Bearer {}\r\n", token);
  }
  LS_CHECK(write(request + "\r\n"));
  std::string head;
  const auto deadline = Clock::now() + kAnswerTime;
  std::size_t end = std::string::npos;
  while ((end = head.find("\r\n\r\n")) == std::string::npos) {
    if (Clock::now() > deadline || quitting_) {
      return quitting_ ? cancelled_error() : device_error("the worker did not answer in time");
    }
    if (head.size() > kMostHead) {
      return usage_error("what answers there is no Layerscope worker (its answer is too long)");
    }
    LS_TRY(const std::string more, read(kSlice));
    head += more;
  }
  LS_CHECK(judge_upgrade(head));
  ahead_ = head.substr(end + 4);
  return {};
}

Status RemoteSocket::open(const Url& url, const std::string& token) {
  close();
  if (url.tls) {
    return usage_error(
        "windows attach without TLS; use a tunnel ('ssh -L 9999:localhost:9999 HOST') and "
        "http://localhost:9999");
  }
  const bool clean =
      std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!clean) {
    return usage_error("the token holds characters that a header cannot carry");
  }
  LS_CHECK(connect(url));
  Status status = upgrade(url, token);
  if (!status.ok()) {
    close();
  }
  return status;
}

Status RemoteSocket::write(std::string_view bytes) {
  while (!bytes.empty()) {
    if (!wait_for(fd_, POLLOUT, kWriteTime)) {
      return device_error("the worker takes nothing any more");
    }
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      return device_error("the connection to the worker broke");
    }
    bytes.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0U);
  }
  return {};
}

Result<std::string> RemoteSocket::read(milliseconds wait) {
  if (!ahead_.empty()) {
    return std::exchange(ahead_, {});
  }
  std::array<pollfd, 2> items{{{fd_, POLLIN, 0}, {event_, POLLIN, 0}}};
  ::poll(items.data(), items.size(), static_cast<int>(wait.count()));
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t m = ::read(event_, &count, sizeof count);
  if (items[0].revents == 0) {
    return std::string();
  }
  std::string bytes(std::size_t{64} << 10U, '\0');
  const ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
    return device_error("the worker closed the connection");
  }
  bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0U);
  return bytes;
}

}  // namespace layerscope::server

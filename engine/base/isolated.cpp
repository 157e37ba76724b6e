#include "engine/base/isolated.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string_view>

namespace layerscope {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// The answer is one of these letters, after an error its code, and the text.
constexpr char kGood = 'g';
constexpr char kError = 'e';
constexpr char kThrown = 't';
constexpr char kMemory = 'm';
constexpr int kAnswer = 3;  ///< file descriptor of the answer in the copy

// ---- In the copy --------------------------------------------------------------------------------

void write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(kAnswer, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void out_of_memory() {
  write_all(std::string_view(&kMemory, 1));
  ::_exit(0);
}

void limit(int what, std::uint64_t most) {
  const rlimit value{static_cast<rlim_t>(most), static_cast<rlim_t>(most)};
  [[maybe_unused]] const int unused = ::setrlimit(static_cast<__rlimit_resource_t>(what), &value);
}

/// Bytes of writable memory that the process has mapped already.
std::uint64_t mapped_bytes() {
  std::uint64_t pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    unsigned long value = 0;
    for (int i = 0; i < 6 && std::fscanf(file, "%lu", &value) == 1; ++i) {
      pages = value;  // the sixth: data and stack
    }
    [[maybe_unused]] const int unused = std::fclose(file);
  }
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Nothing of the process can be reached from here on but memory.
void shut_in(const IsolatedLimits& limits, std::uint64_t mapped, int answer) {
  const int nowhere = ::open("/dev/null", O_RDWR);
  for (int fd = 0; nowhere >= 0 && fd < kAnswer; ++fd) {
    ::dup2(nowhere, fd);
  }
  ::dup2(answer, kAnswer);
  ::close_range(kAnswer + 1, ~0U, 0);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, static_cast<std::uint64_t>((limits.time.count() + 999) / 1000));
  if (mapped > 0) {
    limit(RLIMIT_DATA, mapped + limits.memory);
  }
  for (const int signal : {SIGTERM, SIGINT, SIGSEGV, SIGBUS, SIGABRT}) {
    [[maybe_unused]] const auto before = std::signal(signal, SIG_DFL);
  }
  std::set_new_handler(out_of_memory);
}

void answer_with(const std::function<Result<std::string>()>& body) {
  try {
    const Result<std::string> result = body();
    if (result.ok()) {
      write_all(std::string_view(&kGood, 1));
      write_all(result.value());
    } else {
      const std::array<char, 2> head{kError, static_cast<char>(result.error().code)};
      write_all({head.data(), head.size()});
      write_all(result.error().message);
    }
  } catch (const std::exception& error) {
    write_all(std::string(1, kThrown) + error.what());
  } catch (...) {
    write_all(std::string(1, kThrown) + "unknown error");
  }
}

// ---- In this process ----------------------------------------------------------------------------

/// Reads until the other end is closed; the reason why that did not come to an end, or "".
std::string read_all(int fd, const IsolatedLimits& limits, std::string& bytes) {
  const auto deadline = Clock::now() + 4 * limits.time;  // the machine may be busy
  std::array<char, 65536> piece{};
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      return fmt::format("needs more than {:g} s", static_cast<double>(limits.time.count()) / 1e3);
    }
    pollfd item{fd, POLLIN, 0};
    if (::poll(&item, 1, static_cast<int>(left.count())) <= 0) {
      continue;
    }
    const ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return {};
    }
    bytes.append(piece.data(), static_cast<std::size_t>(n));
    if (bytes.size() > limits.output) {
      return fmt::format("gives more than {} KiB", limits.output >> 10U);
    }
  }
}

Result<std::string> understand(const IsolatedLimits& limits, int status, const std::string& bytes) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    if (signal == SIGXCPU || signal == SIGKILL) {
      return invalid_input(
          fmt::format("needs more than {:g} s", static_cast<double>(limits.time.count()) / 1e3));
    }
    return invalid_input(
        fmt::format("ended with signal {}: endless recursion, most likely", signal));
  }
  const std::string text = bytes.substr(std::min<std::size_t>(bytes.size(), 1));
  switch (bytes.empty() ? '\0' : bytes.front()) {
    case kGood:
      return text;
    case kError:
      return text.empty() ? internal_error("an answer was cut short")
                          : Error{static_cast<ErrorCode>(text.front()), text.substr(1)};
    case kThrown:
      return invalid_input(text);
    case kMemory:
      return invalid_input(fmt::format("needs more than {} MiB of memory", limits.memory >> 20U));
    default:  // a sanitizer's own end, for one
      return invalid_input(
          fmt::format("ended with status {}: endless recursion, most likely", WEXITSTATUS(status)));
  }
}

Result<std::string> fork_and_wait(const IsolatedLimits& limits,
                                  const std::function<Result<std::string>()>& body) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return internal_error("cannot make a pipe");
  }
  const std::uint64_t mapped = mapped_bytes();
  const pid_t child = ::fork();
  if (child == 0) {
    shut_in(limits, mapped, ends[1]);
    answer_with(body);
    ::_exit(0);
  }
  ::close(ends[1]);
  if (child < 0) {
    ::close(ends[0]);
    return internal_error("cannot start a process");
  }
  std::string bytes;
  const std::string trouble = read_all(ends[0], limits, bytes);
  ::close(ends[0]);
  if (!trouble.empty()) {
    ::kill(child, SIGKILL);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return trouble.empty() ? understand(limits, status, bytes) : invalid_input(trouble);
}

}  // namespace

Result<std::string> run_isolated(const IsolatedLimits& limits,
                                 const std::function<Result<std::string>()>& body) {
  // The copy goes on with the stack of the thread that forks.
  struct Call {
    const IsolatedLimits& limits;
    const std::function<Result<std::string>()>& body;
    Result<std::string> result = internal_error("no answer");
  } call{limits, body};
  const auto entry = [](void* argument) -> void* {
    auto& mine = *static_cast<Call*>(argument);
    mine.result = fork_and_wait(mine.limits, mine.body);
    return nullptr;
  };
  pthread_attr_t attributes;
  if (::pthread_attr_init(&attributes) != 0) {
    return internal_error("cannot prepare a thread");
  }
  pthread_t thread{};
  const bool started = ::pthread_attr_setstacksize(&attributes, limits.stack) == 0 &&
                       ::pthread_create(&thread, &attributes, entry, &call) == 0;
  ::pthread_attr_destroy(&attributes);
  if (!started) {
    return internal_error("cannot start a thread");
  }
  ::pthread_join(thread, nullptr);
  return std::move(call.result);
}

}  // namespace layerscope

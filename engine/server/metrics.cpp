#include "engine/server/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace layerscope::server {
namespace {

/// Bytes of memory in use by this process; 0 where the system does not say.
std::uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  in >> size >> resident;
  return in ? resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

std::size_t open_files() {
  std::error_code failed;
  std::size_t n = 0;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", failed);
       !failed && it != std::filesystem::directory_iterator(); it.increment(failed)) {
    ++n;
  }
  return n;
}

class Writer {
 public:
  void help(const char* name, const char* type, const char* text) {
    out_ += fmt::format("# HELP layerscope_{0} {2}\n# TYPE layerscope_{0} {1}\n", name, type, text);
  }
  template <typename T>
  void one(const char* name, const char* type, const char* text, T value) {
    help(name, type, text);
    out_ += fmt::format("layerscope_{} {}\n", name, value);
  }
  void line(const std::string& text) { out_ += text + "\n"; }
  std::string out_;
};

}  // namespace

void Metrics::job_ended(std::string_view outcome) {
  const std::lock_guard lock(mutex_);
  ++jobs_[std::string(outcome)];
}

void Metrics::request(std::string_view path, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{std::string(path), status}];
}

std::string Metrics::text(const Gauges& now) const {
  Writer w;
  const auto seconds = [](std::uint64_t us) { return static_cast<double>(us) * 1e-6; };
  w.one("up", "gauge", "The worker answers.", 1);
  w.one("uptime_seconds", "gauge", "Seconds since the worker became ready.", now.uptime_s);
  w.one("vram_bytes", "gauge", "Bytes of weights and caches on the device.", now.device_bytes);
  w.one("jobs_waiting", "gauge", "Jobs in the queue.", now.waiting);
  w.one("jobs_running", "gauge", "Jobs that run (0 or 1).", now.running ? 1 : 0);
  w.one("connections", "gauge", "Open connections.", now.connections);
  w.one("windows", "gauge", "Attached windows.", now.windows);
  w.one("resident_memory_bytes", "gauge", "Memory of the process.", resident_bytes());
  w.one("open_files", "gauge", "Open file descriptors of the process.", open_files());
  w.one("tokens_total", "counter", "Generated tokens.", tokens.load());
  w.one("prompt_tokens_total", "counter", "Evaluated prompt tokens.", prompt_tokens.load());
  w.one("prefill_seconds_total", "counter", "Time spent on prompts.", seconds(prefill_us));
  w.one("decode_seconds_total", "counter", "Time spent on generation.", seconds(decode_us));
  w.one("findings_total", "counter", "Findings streamed.", findings.load());
  w.one("streams_total", "counter", "Event streams opened.", streams.load());
  w.one("streams_cut_total", "counter", "Event streams whose client left before the end.",
        streams_cut.load());
  w.one("window_bytes_total", "counter", "Bytes sent to attached windows.", window_bytes.load());
  const std::lock_guard lock(mutex_);
  w.help("jobs_total", "counter", "Ended jobs by outcome.");
  for (const auto& [outcome, n] : jobs_) {
    w.line(fmt::format("layerscope_jobs_total{{outcome=\"{}\"}} {}", outcome, n));
  }
  w.help("requests_total", "counter", "Answered requests by path and status.");
  for (const auto& [key, n] : requests_) {
    w.line(fmt::format("layerscope_requests_total{{path=\"{}\",status=\"{}\"}} {}", key.first,
                       key.second, n));
  }
  return w.out_;
}

}  // namespace layerscope::server

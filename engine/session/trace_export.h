// Writes what a session shows as a trace, on a thread of its own.
//
// A snapshot is immutable, so the session goes on meanwhile. Reopened, the trace shows the same
// numbers: statistics, attention rows, choices and distributions as they were captured, findings,
// faults and the texts of the tokens.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "engine/base/result.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

struct TraceExportOptions {
  /// Also the whole tensors of Snapshot::trace, which must be of the present tokens.
  bool whole = false;
  std::stop_token stop;
  std::function<void(double)> progress;  ///< 0 … 1
};

struct TraceExportReport {
  int n_positions = 0;
  int without_rows = 0;        ///< positions whose attention rows are not on the host
  int without_statistics = 0;  ///< positions whose statistics were dropped for memory
  std::uint64_t bytes = 0;
};

/// Whether Snapshot::trace holds exactly the evaluated tokens.
bool trace_is_present(const Snapshot& snapshot);

/// Errors: nothing is evaluated (kUsage), the file cannot be written, kCancelled (no file is left).
Result<TraceExportReport> write_session_trace(const Snapshot& snapshot, const std::string& path,
                                              const TraceExportOptions& options);

/// One export at work. All members: the thread that made it.
class TraceExport {
 public:
  TraceExport(std::shared_ptr<const Snapshot> snapshot, std::string path, bool whole,
              std::function<void()> on_done);
  ~TraceExport();  ///< Cancels what is not done.
  TraceExport(const TraceExport&) = delete;
  TraceExport& operator=(const TraceExport&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] double fraction() const { return fraction_; }
  /// The outcome once, when there is one.
  std::optional<Result<TraceExportReport>> take();

 private:
  const std::string path_;
  std::atomic<double> fraction_{0.0};
  std::mutex mutex_;
  std::optional<Result<TraceExportReport>> outcome_;
  std::jthread thread_;  ///< last: stops before the rest goes
};

}  // namespace layerscope::session

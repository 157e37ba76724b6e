// ComparisonWorker: compares two traces on a thread of its own, and runs the model to explain what
// it found. One task at a time; a newer one waits behind none: it replaces what waits.
//
// Every public function may be called from any thread and returns at once.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "engine/compare/comparison.h"
#include "engine/compare/verdict.h"
#include "engine/session/explain.h"
#include "engine/session/session.h"
#include "engine/session/splice.h"
#include "engine/session/third_opinion.h"

namespace layerscope::session {

/// Two traces compared. Immutable once published.
struct ComparisonResult {
  std::uint64_t serial = 0;  ///< Raised with every change.
  std::shared_ptr<const compare::Trace> a, b;
  compare::Comparison comparison;
  std::string verdict;
  std::shared_ptr<const compare::TapDifferences> differences;  ///< null where tokens differ

  // With the model:
  std::optional<ThirdOpinion> third;
  bool explained = false;                ///< Explain has run.
  bool healthy = false;                  ///< A agrees with our run: nothing to explain
  int tried = 0;                         ///< faults that were tried
  std::vector<FaultScore> explanations;  ///< convincing ones, best first
  std::vector<FaultScore> ranked;        ///< all that were tried, best first
  bool bisected = false;
  Bisection bisection;
  std::string bisection_error;  ///< why there is none
};

/// A model to run, and how.
struct ModelChoice {
  std::string path;
  std::string backend = "auto";
  int threads = 0, gpu = 0;
};

struct CompareTask {
  std::shared_ptr<const compare::Trace> a, b;
};
/// Adds a third opinion and ranked faults to the present result.
struct ExplainTask {
  ModelChoice model;
};
/// Adds the bisection by splices, our engine made wrong as A says it was.
struct BisectTask {
  ModelChoice model;
};
/// Runs another model file on given tokens; the result is a trace to compare with.
struct RunModelTask {
  ModelChoice model;
  std::vector<std::int32_t> ids;
  std::vector<compare::TracePass> passes;
};
using ComparisonTask = std::variant<CompareTask, ExplainTask, BisectTask, RunModelTask>;

class ComparisonWorker {
 public:
  explicit ComparisonWorker(std::function<void()> on_change);
  ~ComparisonWorker();
  ComparisonWorker(const ComparisonWorker&) = delete;
  ComparisonWorker& operator=(const ComparisonWorker&) = delete;

  void start(ComparisonTask task);
  /// Cancels what is at work.
  void stop();
  /// Forgets the result.
  void clear();

  [[nodiscard]] std::shared_ptr<const ComparisonResult> result() const;
  /// What RunModelTask made; taken once.
  [[nodiscard]] std::shared_ptr<const compare::Trace> take_trace();
  [[nodiscard]] bool busy() const;
  [[nodiscard]] std::string error() const;  ///< of the last task; empty: it went well
  [[nodiscard]] const Progress& progress() const { return progress_; }

 private:
  void loop(const std::stop_token& stop);
  Status execute(const CompareTask& task, const std::stop_token& stop);
  Status execute(const ExplainTask& task, const std::stop_token& stop);
  Status execute(const BisectTask& task, const std::stop_token& stop);
  Status execute(const RunModelTask& task, const std::stop_token& stop);
  void publish(ComparisonResult result);

  std::function<void()> on_change_;
  Progress progress_;
  mutable std::mutex mutex_;  // guards what follows, up to the thread
  std::condition_variable_any wake_;
  std::optional<ComparisonTask> waiting_;
  std::stop_source running_;
  bool busy_ = false;
  std::string error_;
  std::shared_ptr<const ComparisonResult> result_;
  std::shared_ptr<const compare::Trace> trace_;
  std::uint64_t serial_ = 0;
  std::jthread thread_;  ///< last: stops before the rest goes
};

}  // namespace layerscope::session

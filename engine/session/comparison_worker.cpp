#include "engine/session/comparison_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/diagnose/fault.h"
#include "engine/session/trace_run.h"

namespace layerscope::session {
namespace {

Result<std::unique_ptr<backend::Backend>> make_backend(
    const std::shared_ptr<const model::Model>& model, const ModelChoice& choice,
    const std::string& kind, std::size_t n_tokens, const std::stop_token& stop) {
  backend::BackendOptions options;
  options.kind = kind;
  options.threads = choice.threads;
  options.context = static_cast<int>(std::max<std::size_t>(n_tokens + 1, 2));
  options.gpu = choice.gpu;
  options.stop = stop;
  return backend::create_backend(model, options);
}

std::size_t tokens_of(const ComparisonResult& r) {
  return std::max(r.a->ids.size(), r.b->ids.size());
}

}  // namespace

ComparisonWorker::ComparisonWorker(std::function<void()> on_change)
    : on_change_(std::move(on_change)),
      thread_([this](const std::stop_token& stop) { loop(stop); }) {}

ComparisonWorker::~ComparisonWorker() {
  stop();
  thread_.request_stop();
}

void ComparisonWorker::start(ComparisonTask task) {
  {
    const std::lock_guard lock(mutex_);
    waiting_ = std::move(task);
    error_.clear();
  }
  wake_.notify_all();
}

void ComparisonWorker::stop() {
  const std::lock_guard lock(mutex_);
  waiting_.reset();
  running_.request_stop();
}

void ComparisonWorker::clear() {
  stop();
  const std::lock_guard lock(mutex_);
  result_.reset();
  trace_.reset();
  error_.clear();
}

std::shared_ptr<const ComparisonResult> ComparisonWorker::result() const {
  const std::lock_guard lock(mutex_);
  return result_;
}

std::shared_ptr<const compare::Trace> ComparisonWorker::take_trace() {
  const std::lock_guard lock(mutex_);
  return std::exchange(trace_, nullptr);
}

bool ComparisonWorker::busy() const {
  const std::lock_guard lock(mutex_);
  return busy_ || waiting_.has_value();
}

std::string ComparisonWorker::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

void ComparisonWorker::loop(const std::stop_token& stop) {
  for (;;) {
    ComparisonTask task;
    std::stop_token running;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return waiting_.has_value(); })) {
        return;
      }
      task = std::move(*waiting_);
      waiting_.reset();
      busy_ = true;
      running_ = std::stop_source();
      running = running_.get_token();
    }
    progress_.permille = 0;
    const Status status = std::visit([&](const auto& t) { return execute(t, running); }, task);
    progress_.permille = -1;
    {
      const std::lock_guard lock(mutex_);
      busy_ = false;
      if (!status.ok()) {
        error_ =
            status.error().code == ErrorCode::kCancelled ? "Cancelled." : status.error().message;
      }
    }
    if (on_change_) {
      on_change_();
    }
  }
}

void ComparisonWorker::publish(ComparisonResult result) {
  const std::lock_guard lock(mutex_);
  result.serial = ++serial_;
  result_ = std::make_shared<const ComparisonResult>(std::move(result));
}

Status ComparisonWorker::execute(const CompareTask& task, const std::stop_token& stop) {
  progress_.what = "comparing";
  ComparisonResult r;
  compare::Trace a = *task.a;
  compare::Trace b = *task.b;
  compare::borrow_tokens(a, b);
  compare::borrow_tokens(b, a);
  r.a = std::make_shared<const compare::Trace>(std::move(a));
  r.b = std::make_shared<const compare::Trace>(std::move(b));
  LS_TRY(r.comparison, compare::compare_traces(*r.a, *r.b));
  r.verdict = compare::verdict_sentence(r.comparison);
  progress_.permille = 500;
  if (!r.comparison.tokens) {
    LS_TRY(compare::TapDifferences differences, compare::tap_differences(*r.a, *r.b, stop));
    r.differences = std::make_shared<const compare::TapDifferences>(std::move(differences));
  }
  publish(std::move(r));
  return {};
}

Status ComparisonWorker::execute(const ExplainTask& task, const std::stop_token& stop) {
  const auto present = result();
  if (present == nullptr) {
    return usage_error("there is nothing to explain yet: choose a reference first");
  }
  progress_.what = "loading the model";
  LS_TRY(const auto model, model::load_model(task.model.path, stop, {}));
  ComparisonResult r = *present;
  r.explained = true;
  if (r.comparison.tokens) {
    r.explanations = explain_tokens(*model, r.a->ids, r.b->ids);
    r.tried = static_cast<int>(r.explanations.size());
    r.ranked = r.explanations;
    publish(std::move(r));
    return {};
  }
  progress_.what = "asking our own float32 run";
  progress_.permille = -1;
  LS_TRY(const auto cpu, make_backend(model, task.model, "cpu", tokens_of(r), stop));
  LS_TRY(r.third, third_opinion(*model, *cpu, *r.a, *r.b, r.comparison));
  LS_TRY(const auto backend,
         make_backend(model, task.model, task.model.backend, tokens_of(r), stop));
  progress_.what = "trying faults";
  ExplainOptions how;
  how.stop = stop;
  how.progress = [this](double done) { progress_.permille = static_cast<int>(1000.0 * done); };
  LS_TRY(const ExplainReport report, explain_trace(*model, *backend, *r.a, r.b->ids, how));
  r.healthy = report.healthy;
  r.tried = report.tried;
  r.explanations = report.convincing();
  r.ranked = report.ranked;
  publish(std::move(r));
  return {};
}

Status ComparisonWorker::execute(const BisectTask& task, const std::stop_token& stop) {
  const auto present = result();
  if (present == nullptr || present->comparison.tokens) {
    return usage_error("splices need two traces of the same tokens");
  }
  progress_.what = "splicing";
  progress_.permille = -1;
  LS_TRY(const auto model, model::load_model(task.model.path, stop, {}));
  LS_TRY(const auto cpu, make_backend(model, task.model, "cpu", tokens_of(*present), stop));
  LS_TRY(const model::Interventions faults, diagnose::parse_faults(present->a->faults, *model));
  ComparisonResult r = *present;
  r.bisected = true;
  auto found = bisect(*model, *cpu, faults, *r.b);
  if (found.ok()) {
    r.bisection = std::move(found).value();
  } else {
    r.bisection_error = found.error().message;
  }
  publish(std::move(r));
  return {};
}

Status ComparisonWorker::execute(const RunModelTask& task, const std::stop_token& stop) {
  progress_.what = "running the other model";
  LS_TRY(const auto model, model::load_model(task.model.path, stop, [this](double done) {
           progress_.permille = static_cast<int>(500.0 * done);
         }));
  for (const std::int32_t id : task.ids) {
    if (id < 0 || id >= model->spec.vocab_rows) {
      return invalid_input(fmt::format(
          "'{}' has no token {}: its vocabulary has {} rows, so it is a model of another kind",
          task.model.path, id, model->spec.vocab_rows));
    }
  }
  LS_TRY(const auto backend,
         make_backend(model, task.model, task.model.backend, task.ids.size(), stop));
  progress_.permille = -1;
  TraceRequest request;
  request.ids = task.ids;
  request.passes = task.passes;
  request.stop = stop;
  LS_TRY(compare::Trace trace, run_trace(*model, *backend, request));
  trace.path = task.model.path;
  trace.format = "run of another model";
  const std::lock_guard lock(mutex_);
  trace_ = std::make_shared<const compare::Trace>(std::move(trace));
  return {};
}

}  // namespace layerscope::session

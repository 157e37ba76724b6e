#include "engine/session/compared_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/format/model_folder.h"
#include "engine/session/trace_export.h"

namespace layerscope::session {
namespace {

/// Versions and serials of the other sides never meet those of A.
constexpr std::uint64_t kOtherVersions = std::uint64_t{1} << 62U;
constexpr std::uint64_t kReferenceSerials = std::uint64_t{1} << 44U;

bool is_model(const std::string& path) {
  return path.ends_with(".gguf") || format::model_folder_of(path).has_value();
}

std::vector<std::int32_t> ids_of(const Snapshot& s) {
  std::vector<std::int32_t> ids;
  ids.reserve(static_cast<std::size_t>(s.n_frames));
  for (int p = 0; p < s.n_frames; ++p) {
    ids.push_back(s.frame(p)->id);
  }
  return ids;
}

/// What a command reads and does not change.
bool only_reads(const Command& command) {
  return std::holds_alternative<InspectToken>(command) ||
         std::holds_alternative<RequestHeadMap>(command) ||
         std::holds_alternative<InspectCache>(command);
}

}  // namespace

ComparedSession::ComparedSession(std::function<void()> on_change)
    : on_change_(std::move(on_change)),
      worker_(on_change_),
      shown_(std::make_shared<const Snapshot>()) {}

void ComparedSession::set_candidate(SessionLink& a) {
  a_ = &a;
  side_ = Side::kA;
  if (stage_ == CompareStage::kRecording || stage_ == CompareStage::kComparing) {
    worker_.stop();
    stage_ = CompareStage::kNone;
  }
  worker_.clear();
  if (stage_ == CompareStage::kDone || stage_ == CompareStage::kFailed) {
    stage_ = b_ != nullptr ? CompareStage::kNoTokens : CompareStage::kNone;
    problem_.clear();
  }
  compose();
}

std::shared_ptr<const Snapshot> ComparedSession::candidate() const { return a_->snapshot(); }

void ComparedSession::choose_reference(std::string path) {
  drop_reference();
  path_ = std::move(path);
  stage_ = CompareStage::kReading;
  if (is_model(path_)) {
    const auto a = a_->snapshot();
    run_reference_ = true;
    if (a->n_frames == 0) {
      fail("A model as reference runs on the same tokens: evaluate a prompt first (Step, F10).");
      return;
    }
    RunModelTask task;
    task.model = model_;
    task.model.path = path_;
    task.ids = ids_of(*a);
    task.passes.push_back({0, static_cast<int>(std::max(1, std::min(a->n_prompt(), a->n_frames)))});
    for (int p = task.passes.front().n_tokens; p < a->n_frames; ++p) {
      task.passes.push_back({p, 1});
    }
    worker_.start(std::move(task));
    return;
  }
  open_reference(nullptr);
}

void ComparedSession::open_reference(std::shared_ptr<const compare::Trace> trace) {
  TraceSessionOptions options;
  options.path = path_;
  options.trace = std::move(trace);
  options.reader.serial_base = kReferenceSerials * ++references_;
  const auto a = a_->snapshot();
  options.reader.tokenizer = a->model != nullptr ? a->model->tokenizer : nullptr;
  options.on_change = on_change_;
  options.history_budget = a->history.budget / 4;  // beside A's own
  b_ = std::make_unique<TraceSession>(std::move(options));
}

void ComparedSession::drop_reference() {
  worker_.clear();
  b_.reset();
  path_.clear();
  problem_.clear();
  feeding_.clear();
  run_reference_ = false;
  stage_ = CompareStage::kNone;
  set_side(Side::kA);
}

void ComparedSession::fail(std::string problem) {
  stage_ = CompareStage::kFailed;
  problem_ = std::move(problem);
}

void ComparedSession::compare_again() {
  if (path_.empty()) {
    return;
  }
  if (b_ == nullptr) {
    choose_reference(path_);
    return;
  }
  problem_.clear();
  want_candidate();
}

/// Asks A for its tensors where they are not there yet.
void ComparedSession::want_candidate() {
  const auto a = a_->snapshot();
  if (a->n_frames == 0) {
    stage_ = CompareStage::kNoTokens;
  } else if (a->recording != nullptr || trace_is_present(*a)) {
    stage_ = CompareStage::kComparing;
    worker_.start(CompareTask{a->trace, b_->reader()->shared_trace()});
  } else if (a_->link().remote) {
    fail(
        "The session of a worker is compared there: save its jobs with --trace-dir and open them.");
  } else {
    stage_ = CompareStage::kRecording;
    asked_error_ = a->error_serial;
    a_->send(MakeTrace{});
  }
}

void ComparedSession::feed_reference_tokens() {
  if (b_ == nullptr || b_->reader() == nullptr) {
    return;
  }
  feeding_ = b_->reader()->trace().ids;
  if (feeding_.empty()) {
    fail("The reference does not say its token ids, so they cannot be fed.");
    return;
  }
  asked_error_ = a_->snapshot()->error_serial;
  stage_ = CompareStage::kRecording;
  a_->send(SetTokens{feeding_});
  a_->send(MakeTrace{});
}

void ComparedSession::read_reference() {
  if (run_reference_) {
    if (auto trace = worker_.take_trace()) {
      run_reference_ = false;
      open_reference(std::move(trace));
    } else if (!worker_.busy()) {
      fail(worker_.error());
    }
    return;
  }
  if (b_ == nullptr || !b_->opened()) {
    return;
  }
  if (b_->reader() == nullptr) {
    const std::string problem = b_->snapshot()->error;
    b_.reset();
    fail(problem);
    return;
  }
  want_candidate();
}

void ComparedSession::advance() {
  if (stage_ == CompareStage::kReading) {
    read_reference();
  }
  const auto a = a_->snapshot();
  if (stage_ == CompareStage::kRecording && a_->idle()) {
    const bool fed = feeding_.empty() || ids_of(*a) == feeding_;
    if (a->error_serial != asked_error_ && !a->error.empty()) {
      feeding_.clear();
      fail(a->error);
    } else if (fed && trace_is_present(*a)) {
      feeding_.clear();
      want_candidate();
    } else {
      feeding_.clear();
      fail("Recording the tensors was cancelled.");
    }
  }
  if (stage_ == CompareStage::kComparing && !worker_.busy()) {
    if (worker_.result() != nullptr) {
      stage_ = CompareStage::kDone;
    } else {
      fail(worker_.error());
    }
  }
  if (stage_ == CompareStage::kDone) {
    problem_ = worker_.error();
  }
  compose();
}

void ComparedSession::explain() {
  if (model_.path.empty()) {
    problem_ = "Explain runs the model: open it first, then the trace.";
    stage_ = CompareStage::kFailed;
    return;
  }
  worker_.start(ExplainTask{model_});
}

void ComparedSession::bisect() {
  if (!model_.path.empty()) {
    worker_.start(BisectTask{model_});
  }
}

void ComparedSession::cancel() {
  worker_.stop();
  if (stage_ == CompareStage::kRecording) {
    a_->send(Stop{});
  }
}

bool ComparedSession::busy() const {
  return stage_ == CompareStage::kReading || stage_ == CompareStage::kRecording || worker_.busy();
}

bool ComparedSession::stale() const {
  const auto r = worker_.result();
  if (r == nullptr) {
    return false;
  }
  const auto a = a_->snapshot();
  if (a->recording != nullptr) {
    return false;
  }
  return a->faults != r->a->faults || ids_of(*a) != r->a->ids;
}

bool ComparedSession::has_sides() const {
  return b_ != nullptr && b_->reader() != nullptr && a_->snapshot()->n_frames > 0;
}

void ComparedSession::set_side(Side side) {
  side_ = side == Side::kA || has_sides() ? side : Side::kA;
  if (a_ != nullptr) {
    compose();
  }
}

void ComparedSession::send(Command command) {
  if (b_ != nullptr && side_ != Side::kA && only_reads(command)) {
    b_->send(command);
    if (side_ == Side::kB) {
      return;
    }
  }
  a_->send(std::move(command));
}

bool ComparedSession::idle() const { return a_->idle() && (b_ == nullptr || b_->idle()); }

bool ComparedSession::settled() const {
  if (busy() || !idle()) {
    return false;
  }
  const auto a = a_->snapshot();
  return side_ == Side::kA ? shown_ == a : a == from_a_ && b_->snapshot() == from_b_;
}

ComparedSession::Details ComparedSession::details(int position) {
  Details found;
  const auto look = [position](SessionLink& link,
                               std::uint64_t& asked) -> std::shared_ptr<const TokenDetail> {
    const auto s = link.snapshot();
    const capture::TokenFrame* frame = s->frame(position);
    if (frame == nullptr) {
      return nullptr;
    }
    const TokenDetail* detail = s->token_detail.get();
    if (detail != nullptr && detail->position == position &&
        (detail->serial == frame->serial || !detail->error.empty())) {
      return s->token_detail;
    }
    if (asked != frame->serial || link.idle()) {
      asked = frame->serial;
      link.send(InspectToken{position, 0});
    }
    return nullptr;
  };
  if (has_sides()) {
    found.a = look(*a_, asked_detail_a_);
    found.b = look(*b_, asked_detail_b_);
  }
  return found;
}

void ComparedSession::compose() {
  const auto a = a_->snapshot();
  if (side_ != Side::kA && !has_sides()) {
    side_ = Side::kA;
  }
  if (side_ == Side::kA) {
    from_a_.reset();
    from_b_.reset();
    from_side_ = side_;
    shown_ = a;
    return;
  }
  const auto b = b_->snapshot();
  const auto result = worker_.result();
  const auto differences = result != nullptr && !stale() ? result->differences : nullptr;
  if (a == from_a_ && b == from_b_ && side_ == from_side_ && differences == from_differences_) {
    return;
  }
  Snapshot s = side_ == Side::kB ? reference_side(*a, *b) : difference_.make(*a, *b, differences);
  s.version = kOtherVersions | ++version_;
  from_a_ = a;
  from_b_ = b;
  from_side_ = side_;
  from_differences_ = differences;
  shown_ = std::make_shared<const Snapshot>(std::move(s));
}

}  // namespace layerscope::session

#include "engine/session/trace_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "engine/base/log.h"
#include "engine/compare/registry.h"
#include "engine/format/model_folder.h"
#include "engine/session/foreign_diagnosis.h"
#include "engine/session/history.h"
#include "engine/session/history_use.h"

namespace layerscope::session {
namespace {

constexpr double kSlowest = 0.1, kFastest = 1000.0;  // steps a second

std::string place_of(const TraceSessionOptions& options) {
  if (const compare::Trace* given = options.trace.get(); given != nullptr) {
    return given->path;
  }
  return options.path;
}

bool is_stop(const Command& command) {
  return std::holds_alternative<Pause>(command) || std::holds_alternative<Stop>(command);
}

}  // namespace

bool opens_as_trace(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path file(path);
  if (!std::filesystem::is_regular_file(file, ignored) || file.extension() == ".gguf" ||
      format::model_folder_of(path)) {
    return false;
  }
  return compare::is_trace(path);
}

TraceSession::TraceSession(TraceSessionOptions options)
    : options_(std::move(options)), rate_(options_.steps_per_second) {
  state_.state = State::kLoading;
  state_.loading_path = place_of(options_);
  progress_.what = "reading the trace";
  progress_.permille = 0;
  published_ = std::make_shared<const Snapshot>(state_);
  thread_ = std::jthread([this](const std::stop_token& stop) { loop(stop); });
}

TraceSession::~TraceSession() {
  thread_.request_stop();
  wake_.notify_all();
}

// ---- Any thread ---------------------------------------------------------------------------------

void TraceSession::send(Command command) {
  {
    const std::lock_guard lock(mutex_);
    pause_ = pause_ || is_stop(command);
    queue_.push_back(std::move(command));
  }
  wake_.notify_all();
}

std::shared_ptr<const Snapshot> TraceSession::snapshot() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

std::shared_ptr<const TraceReader> TraceSession::reader() const {
  const std::lock_guard lock(mutex_);
  return reader_;
}

bool TraceSession::idle() const {
  const std::lock_guard lock(mutex_);
  return queue_.empty() && !busy_;
}

bool TraceSession::opened() const {
  const std::lock_guard lock(mutex_);
  return opened_;
}

LinkState TraceSession::link() const {
  LinkState link;
  link.recording = true;
  link.place = place_of(options_);
  return link;
}

bool TraceSession::set_pace(double steps_per_s) {
  {
    const std::lock_guard lock(mutex_);
    if (steps_per_s == rate_) {
      return true;
    }
    rate_ = steps_per_s;
  }
  wake_.notify_all();  // a step that waits counts its time anew
  return true;
}

// ---- The thread ---------------------------------------------------------------------------------

void TraceSession::loop(const std::stop_token& stop) {
  if (const Status status = open(stop); !status.ok()) {
    if (status.error().code == ErrorCode::kCancelled) {
      return;
    }
    state_.state = State::kEmpty;
    set_error(status.error());
  } else {
    state_.state = State::kIdle;
  }
  state_.loading_path.clear();
  progress_.permille = -1;
  {
    const std::lock_guard lock(mutex_);
    opened_ = true;
  }
  publish();
  for (;;) {
    Command command;
    {
      std::unique_lock lock(mutex_);
      busy_ = false;
      if (!wake_.wait(lock, stop, [this] { return !queue_.empty(); })) {
        return;
      }
      command = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
      pause_ = std::any_of(queue_.begin(), queue_.end(), is_stop);
    }
    execute(command);
    progress_.permille = -1;
    publish();
  }
}

Status TraceSession::open(const std::stop_token& stop) {
  std::shared_ptr<const compare::Trace> trace = options_.trace;
  if (trace == nullptr) {
    LS_TRY(compare::Trace read, compare::import_trace(options_.path));
    trace = std::make_shared<const compare::Trace>(std::move(read));
  }
  const auto reader = std::make_shared<const TraceReader>(trace, options_.reader);
  FrameOptions how;
  const std::uint64_t budget =
      options_.history_budget > 0 ? options_.history_budget : default_history_budget();
  const std::uint64_t held = trace_bytes(*trace);
  how.budget = budget - std::min(budget, held);
  how.stop = stop;
  how.progress = [this](double done) { progress_.permille = static_cast<int>(done * 1000.0); };
  LS_TRY(TraceReader::Frames made, reader->frames(how));
  auto info = std::make_shared<RecordingInfo>(reader->info());
  info->notes.insert(info->notes.end(), made.problems.begin(), made.problems.end());
  frames_ = std::move(made.frames);
  state_.model = reader->model();
  state_.recording = std::move(info);
  state_.trace = trace;
  state_.backend = trace->backend;
  state_.backend_text = trace->backend.empty() ? trace->format : "recorded on " + trace->backend;
  state_.backend_reason = fmt::format("{}\n{}", trace->format, trace->path);
  state_.unit_roundoff = trace->unit_roundoff;
  state_.context = reader->n_positions();
  state_.history = {};
  state_.history.budget = budget;
  tensor_bytes_ = held;
  for (const auto& frame : frames_) {
    state_.history.line += capture::memory_of(*frame).host();
    state_.history.without_rows += frame->detail < capture::Detail::kAll ? 1 : 0;
    state_.history.without_statistics += frame->detail < capture::Detail::kStatistics ? 1 : 0;
  }
  state_.prompt = trace->prompt;
  const std::size_t n_prompt = trace->n_prompt > 0 ? trace->n_prompt : trace->ids.size();
  state_.prompt_ids.assign(
      trace->ids.begin(),
      trace->ids.begin() + static_cast<std::ptrdiff_t>(std::min(n_prompt, trace->ids.size())));
  if (state_.prompt.empty() && state_.model->tokenizer != nullptr) {
    state_.prompt = state_.model->tokenizer->decode(state_.prompt_ids, true);
  }
  state_.fed_text = state_.prompt;
  state_.faults = trace->faults;
  state_.findings = trace->findings;
  state_.findings_serial = 1;
  state_.session_serial = options_.reader.serial_base + 1;
  {
    const std::lock_guard lock(mutex_);
    reader_ = reader;
  }
  show(static_cast<int>(frames_.size()));
  return {};
}

void TraceSession::show(int n) {
  shown_ = std::clamp(n, 0, static_cast<int>(frames_.size()));
  const auto count = static_cast<std::size_t>(shown_);
  const std::size_t n_chunks = (count + kChunkFrames - 1) / kChunkFrames;
  state_.chunks.resize(n_chunks);
  for (std::size_t c = 0; c < n_chunks; ++c) {
    const std::size_t end = std::min(count, (c + 1) * kChunkFrames);
    const std::size_t size = end - c * kChunkFrames;
    if (state_.chunks[c] == nullptr || state_.chunks[c]->frames.size() != size) {
      auto chunk = std::make_shared<FrameChunk>();
      chunk->frames.assign(frames_.begin() + static_cast<std::ptrdiff_t>(c * kChunkFrames),
                           frames_.begin() + static_cast<std::ptrdiff_t>(end));
      state_.chunks[c] = std::move(chunk);
    }
  }
  state_.n_frames = shown_;
  state_.n_generated = std::max(0, shown_ - state_.n_prompt());
}

void TraceSession::publish() {
  state_.history.requested = requested_bytes(state_) + tensor_bytes_;
  ++state_.version;
  auto snapshot = std::make_shared<const Snapshot>(state_);
  {
    const std::lock_guard lock(mutex_);
    published_.swap(snapshot);
  }
  if (options_.on_change) {
    options_.on_change();
  }
}

void TraceSession::set_error(const Error& error) {
  state_.error = error.message;
  state_.error_code = error.code;
  ++state_.error_serial;
}

void TraceSession::refuse(const char* what) {
  set_error(usage_error(fmt::format(
      "this is a recording, so {} is not possible here; open its model to do that", what)));
}

bool TraceSession::interrupted() const {
  const std::lock_guard lock(mutex_);
  return pause_ || thread_.get_stop_token().stop_requested();
}

void TraceSession::execute(const Command& command) {
  if (state_.model == nullptr) {
    return;  // nothing was read; the error is shown
  }
  state_.error.clear();
  std::visit(
      [this](const auto& c) {
        using C = std::remove_cvref_t<decltype(c)>;
        if constexpr (std::is_same_v<C, ForceToken>) {
          refuse("another token");
        } else if constexpr (std::is_same_v<C, SetFaults>) {
          refuse("injecting faults");
        } else if constexpr (std::is_same_v<C, SetSampler>) {
          refuse("another sampler");
        } else if constexpr (std::is_same_v<C, SetTokens>) {
          refuse("feeding other tokens");
        } else if constexpr (requires { this->handle(c); }) {
          this->handle(c);
        }
        // The rest (capture, branches, loading) has no meaning for a recording.
      },
      command);
}

void TraceSession::handle(const Step& command) {
  if (command.n > 0) {
    show(std::min(shown_, static_cast<int>(frames_.size())) + command.n);
  }
}

void TraceSession::handle(const Run& command) { play(command.max_tokens); }

/// Shows recorded steps one after another until the end, Pause or Stop.
void TraceSession::play(int limit) {
  state_.state = State::kRunning;
  publish();
  const int last = static_cast<int>(frames_.size());
  for (int done = 0; shown_ < last && (limit <= 0 || done < limit); ++done) {
    if (interrupted()) {
      break;
    }
    show(shown_ + 1);
    publish();
    std::unique_lock lock(mutex_);
    const auto shown_at = std::chrono::steady_clock::now();
    for (bool over = false; !over && !pause_;) {
      const double rate = rate_;
      const double seconds = 1.0 / (rate > 0.0 ? std::clamp(rate, kSlowest, kFastest) : kFastest);
      over = !wake_.wait_until(
          lock, thread_.get_stop_token(),
          shown_at + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                         std::chrono::duration<double>(seconds)),
          [this, rate] { return pause_ || rate_ != rate; });
      over = over || thread_.get_stop_token().stop_requested();
    }
  }
  state_.state = State::kIdle;
}

void TraceSession::handle(const Rewind& command) {
  if (command.position < 0 || command.position >= shown_) {
    set_error(usage_error(fmt::format("cannot go back to position {}: {} tokens are shown",
                                      command.position, shown_)));
    return;
  }
  show(command.position + 1);
}

/// Restart: what was fed stands there, what was generated is played again. A recording of a prompt
/// alone starts at its first token.
void TraceSession::handle(const SetPrompt& /*command*/) {
  const int prompt = state_.n_prompt();
  show(prompt > 0 && prompt < static_cast<int>(frames_.size()) ? prompt : 1);
}

void TraceSession::handle(const InspectToken& command) {
  const auto reader = this->reader();
  const auto position = static_cast<std::size_t>(std::max(command.position, 0));
  if (command.position < 0 || position >= frames_.size()) {
    return;
  }
  state_.token_detail = std::make_shared<const TokenDetail>(
      reader->detail(command.position, frames_[position]->serial));
}

void TraceSession::handle(const InspectCache& /*command*/) {
  auto view = std::make_shared<CacheView>();
  view->error =
      "Not captured in this trace: the key and value cache. Open the model to look into it; the "
      "taps k_rope and v of a full trace hold what was written.";
  view->last_serial = shown_ > 0 ? frames_[static_cast<std::size_t>(shown_) - 1]->serial : 0;
  state_.cache_view = std::move(view);
}

void TraceSession::handle(const RequestHeadMap& command) {
  if (auto map = reader()->head_map(command.layer, command.head, shown_)) {
    state_.head_map = std::move(map);
  }
}

void TraceSession::handle(const DiagnoseNow& /*command*/) {
  state_.state = State::kEvaluating;
  progress_.what = "diagnosing";
  publish();
  if (const Status status = diagnose(); !status.ok()) {
    set_error(status.error());
  }
  state_.state = State::kIdle;
}

/// Every operation recomputed from the trace's own input, with the model file as truth.
Status TraceSession::diagnose() {
  if (options_.model_path.empty()) {
    return usage_error(
        "the deep checks recompute a trace with its model: open the model first, then the trace");
  }
  LS_TRY(auto model, model::load_model(options_.model_path, {}, {}));
  LS_TRY(ForeignReport report, diagnose_trace(model, *state_.trace));
  state_.findings = std::move(report.findings);
  state_.checks_run = report.checks_run;
  ++state_.findings_serial;
  state_.diagnosed = true;
  return {};
}

void TraceSession::handle(const RunJob& command) {
  command.job->ended(usage_error("a recording runs no jobs"), {});
}

}  // namespace layerscope::session

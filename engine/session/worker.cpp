#include "engine/session/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/base/log.h"
#include "engine/session/model_info.h"

namespace layerscope::session {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Multiply-adds up to which a prompt gets the distribution of every token, not only of the last:
/// about 60 ms on two cores, so that cancelling stays within 100 ms.
constexpr double kPromptLogitsBudget = 6e8;

/// More tokens than any backend works ahead.
constexpr int kFarAhead = 16;

/// Weight of the newest token in the smoothed time per token.
constexpr double kSmoothing = 0.2;

/// Commands that Stop drops while they wait.
bool is_long(const Command& command) {
  return std::holds_alternative<LoadModel>(command) || std::holds_alternative<Step>(command) ||
         std::holds_alternative<Run>(command) || std::holds_alternative<Rewind>(command) ||
         std::holds_alternative<ForceToken>(command) ||
         std::holds_alternative<RequestHeadMap>(command) ||
         std::holds_alternative<InspectToken>(command) ||
         std::holds_alternative<InspectCache>(command) ||
         std::holds_alternative<InspectAttention>(command) ||
         std::holds_alternative<MakeTrace>(command) || std::holds_alternative<DiagnoseNow>(command);
}

}  // namespace

Session::Worker::Worker(SessionOptions options) : options_(std::move(options)) {
  if (options_.history_budget == 0) {
    options_.history_budget = default_history_budget();
  }
  state_.sampler = options_.sampler;
  state_.capture = options_.capture;
  published_ = std::make_shared<Snapshot>(state_);
  thread_ = std::thread([this] { loop(); });
}

Session::Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    quitting_ = true;
    running_stop_.request_stop();
    look_stop_.request_stop();
  }
  changed_.notify_all();
  thread_.join();
}

void Session::Worker::send(Command command) {
  {
    const std::lock_guard lock(mutex_);
    const std::uint64_t sequence = next_sequence_++;
    if (std::holds_alternative<Pause>(command)) {
      pause_sequence_ = sequence;
    } else if (std::holds_alternative<Stop>(command)) {
      stop_sequence_ = sequence;
      pause_sequence_ = sequence;
      running_stop_.request_stop();
    }
    queue_.push_back({sequence, std::move(command)});
    look_stop_.request_stop();
  }
  changed_.notify_all();
}

std::shared_ptr<const Snapshot> Session::Worker::snapshot() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

bool Session::Worker::idle() const {
  const std::lock_guard lock(mutex_);
  return queue_.empty() && !busy_;
}

void Session::Worker::wait_idle() const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool Session::Worker::paused(std::uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  return quitting_ || pause_sequence_ > sequence;
}

/// Waits for the next command to execute; false when the session ends.
bool Session::Worker::next(Queued& item) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return quitting_ || !queue_.empty() || look_ || sink_changed_; });
    if (quitting_) {
      return false;
    }
    if (queue_.empty()) {  // only a picture is wanted
      look_stop_ = std::stop_source();
      lock.unlock();
      draw(true);
      lock.lock();
      continue;
    }
    item = std::move(queue_.front());
    queue_.pop_front();
    if (item.sequence > stop_sequence_ || !is_long(item.command)) {
      busy_ = true;
      running_stop_ = std::stop_source();
      running_sequence_ = item.sequence;
      stop_ = running_stop_.get_token();
      if (stop_sequence_ > item.sequence && !std::holds_alternative<RunJob>(item.command)) {
        running_stop_.request_stop();
      }
      return true;
    }
  }
}

void Session::Worker::loop() {
  Queued item;
  while (next(item)) {
    execute(item);
    {
      const std::lock_guard lock(mutex_);
      busy_ = false;
    }
    changed_.notify_all();
  }
}

void Session::Worker::execute(const Queued& item) {
  sequence_ = item.sequence;
  device_failed_ = false;
  std::visit([this](const auto& command) { handle(command); }, item.command);
  if (device_failed_ && generator_ != nullptr && !std::holds_alternative<LoadModel>(item.command)) {
    recover();
  }
  progress_.permille = -1;
  update_branches();
  set_state(generator_ != nullptr ? State::kIdle : State::kEmpty);
}

void Session::Worker::set_state(State state) {
  state_.state = state;
  publish();
}

void Session::Worker::set_error(const Error& error) {
  state_.error = error.message;
  state_.error_code = error.code;
  ++state_.error_serial;
  if (options_.log_errors) {
    spdlog::error("{}", error.message);
  }
}

/// Records a failure (a cancellation is not one); true when `status` is ok.
bool Session::Worker::report(const Status& status) {
  if (status.ok()) {
    return true;
  }
  if (status.error().code == ErrorCode::kCancelled) {
    state_.stop_reason = StopReason::kCancelled;
  } else {
    set_error(status.error());
    device_failed_ = device_failed_ || status.error().code == ErrorCode::kDevice;
  }
  return false;
}

void Session::Worker::update_chunks() {
  if (generator_ == nullptr) {
    state_.chunks.clear();
  } else {
    generator_->history().update(state_.chunks);
  }
  const std::size_t n = generator_ != nullptr ? generator_->frames().size() : 0;
  state_.n_frames = static_cast<int>(n);
  state_.n_generated = std::max(0, state_.n_frames - state_.n_prompt());
}

void Session::Worker::publish() {
  limit_history();
  update_chunks();
  ++state_.version;
  if (generator_ != nullptr) {
    state_.draws = generator_->backend().draws();
    state_.drawn_bytes_to_host = generator_->backend().drawn_bytes_to_host();
    state_.draw_cost = generator_->backend().draw_cost();
  }
  auto snapshot = std::make_shared<const Snapshot>(state_);
  {
    const std::lock_guard lock(mutex_);
    published_.swap(snapshot);
  }
  changed_.notify_all();
  if (options_.on_change) {
    options_.on_change();
  }
}

// ---- Commands
// ------------------------------------------------------------------------------------

void Session::Worker::handle(const LoadModel& command) {
  state_.error.clear();
  state_.loading_path = command.path;
  progress_.what = "loading";
  progress_.permille = 0;
  set_state(State::kLoading);
  const Status status = load(command.path);
  if (!status.ok() && status.error().code == ErrorCode::kInvalidInput && generator_ == nullptr) {
    // Nothing is lost by it: what the file holds is listed all the same.
    auto listed = list_model_file(command.path);
    state_.model = listed.ok() ? std::move(listed).value() : nullptr;
  }
  report(status);
  state_.loading_path.clear();
}

backend::BackendOptions Session::Worker::backend_options(int context) const {
  const std::string kind = no_gpu_reason_.empty() ? options_.backend : "cpu";
  backend::BackendOptions options{kind, options_.threads, context, options_.gpu};
  options.float32 = options_.float32;
  options.row_memory = options_.device_attention_budget;
  options.draw = options_.draw;
  options.stop = stop_;
  return options;
}

Status Session::Worker::load(const std::string& path) {
  constexpr double kReading = 100.0;  // ‰ of the bar; the upload takes the rest
  const auto start = Clock::now();
  backend::BackendOptions options = backend_options(options_.context);
  options.progress = [this](double fraction) {
    progress_.permille = static_cast<int>(kReading + fraction * (1000.0 - kReading));
  };
  warm_up_ = backend::warm_up(options);  // a member: a cancelled load does not wait for it
  LS_TRY(auto model, model::load_model(path, stop_, [this](double fraction) {
           progress_.permille = static_cast<int>(fraction * kReading);
         }));
  if (warm_up_.joinable()) {
    warm_up_.join();
  }
  LS_TRY(auto backend, backend::create_backend(model, options));
  // Everything that can fail is done: replace the present model.
  diagnosis_.reset();
  generator_ = std::make_unique<Generator>(model, std::move(backend));
  generator_->sampler_settings = state_.sampler;
  generator_->capture = state_.capture;
  generator_->attention_budget =
      generator_->backend().row_capacity() > 0 ? History::kUnlimited : options_.history_budget;
  generator_->history().on_reduce = [this](std::size_t position, const History::Frame& before,
                                           const History::Frame& after) {
    branches_.replace(position, before, after);
  };
  diagnosis_ = std::make_unique<Diagnosis>(
      *generator_, [this](int context) { return generator_->backend().fork(context); });
  state_.model = make_model_info(*model);
  state_.faults.clear();
  take_findings();
  state_.backend = generator_->backend().name();
  state_.backend_text = generator_->backend().description();
  state_.backend_reason = "chosen with --backend";
  for (const backend::DeviceInfo& device : backend::list_devices(options_.threads)) {
    if (options_.backend == "auto" && device.backend == state_.backend) {
      state_.backend_reason = device.reason;
      break;
    }
  }
  if (!no_gpu_reason_.empty()) {
    state_.backend_reason = no_gpu_reason_;
  }
  state_.draws = generator_->backend().draws();
  state_.draw_error.clear();
  state_.unit_roundoff = generator_->backend().rounding().coarsest();
  state_.context = generator_->backend().context();
  state_.device_bytes = model->weight_bytes() + generator_->backend().cache_bytes();
  state_.prompt.clear();
  state_.fed_text.clear();
  state_.prompt_ids.clear();
  forget_views();
  state_.stop_reason = StopReason::kNone;
  state_.timing = {};
  state_.timing.load_s = seconds_since(start);
  ++state_.session_serial;
  spdlog::info("loaded {} in {:.2f} s ({})", path, state_.timing.load_s, state_.backend_text);
  return {};
}

// A GPU that failed answers everything with the same error, and one that is out of memory may have
// lost a step: both are well again with a new backend. Where the driver does not give the GPU back
// and no backend was asked for by name, the processor goes on. The prompt is kept, what was
// evaluated is not.
void Session::Worker::recover() {
  const std::string error = state_.error;
  const std::string path = state_.model->path;
  const std::vector<std::string> faults = state_.faults;
  const std::string prompt = state_.prompt;
  const std::string fed = state_.fed_text;
  diagnosis_.reset();
  generator_.reset();
  sink_.reset();  // its memory goes with the device
  progress_.what = "loading";
  state_.loading_path = path;
  set_state(State::kLoading);
  Status status = backend::recover_device(options_.gpu);
  ++state_.sinks_lost;
  if (!status.ok() && options_.backend == "auto") {
    no_gpu_reason_ = status.error().message;
    status = Status();
  }
  if (status.ok()) {
    status = load(path);
  }
  state_.loading_path.clear();
  if (!status.ok()) {
    handle(Unload{});
    set_error(device_error(
        fmt::format("{}; the model could not be loaded again: {}", error, status.error().message)));
    return;
  }
  state_.prompt = prompt;
  state_.fed_text = fed;
  if (!faults.empty()) {
    report(set_faults(faults));
  } else {
    restart();
  }
  set_error(device_error(
      no_gpu_reason_.empty()
          ? fmt::format("{}; the model was loaded again, the prompt is kept", error)
          : fmt::format(
                "{}; the model was loaded again to run on the processor, the prompt is kept: {}",
                error, no_gpu_reason_)));
}

void Session::Worker::handle(const Unload& /*command*/) {
  diagnosis_.reset();
  generator_.reset();
  branches_.clear();
  const std::uint64_t version = state_.version;
  const std::uint64_t session_serial = state_.session_serial;
  const std::uint64_t error_serial = state_.error_serial;
  Snapshot empty;
  empty.version = version;
  empty.session_serial = session_serial + 1;
  empty.error_serial = error_serial;
  empty.findings_serial = state_.findings_serial + 1;
  empty.sinks_lost = state_.sinks_lost;
  empty.sampler = state_.sampler;
  empty.capture = state_.capture;
  state_ = std::move(empty);
}

void Session::Worker::handle(const SetPrompt& command) {
  state_.error.clear();
  report(set_prompt(command));
}

Status Session::Worker::set_prompt(const SetPrompt& command) {
  if (generator_ == nullptr) {
    return usage_error("no model is loaded, so the prompt has nowhere to go; open one first");
  }
  const tokenizer::Tokenizer& tokenizer = *state_.model->tokenizer;
  std::string fed = command.text;
  if (command.chat) {
    const tokenizer::ChatMessage message{"user", command.text};
    LS_TRY(fed, tokenizer::render_chat(tokenizer, std::span(&message, 1), true));
  }
  std::vector<std::int32_t> ids = tokenizer.encode(fed).ids;
  if (ids.empty()) {
    return invalid_input("the prompt is empty; write something to evaluate");
  }
  if (ids.size() > static_cast<std::size_t>(state_.context)) {
    return invalid_input(
        fmt::format("the prompt has {} tokens, but the context holds {}; shorten it "
                    "or raise --context",
                    ids.size(), state_.context));
  }
  state_.prompt = command.text;
  state_.chat = command.chat;
  state_.fed_text = std::move(fed);
  restart();
  return {};
}

Status Session::Worker::prepare() {
  if (generator_ == nullptr) {
    return usage_error("no model is loaded; open one first");
  }
  if (state_.prompt_ids.empty()) {
    return usage_error("there is no prompt yet; write one and set it first");
  }
  const std::size_t done = generator_->frames().size();
  if (done >= state_.prompt_ids.size()) {
    // After a cancelled rewind the distribution is missing: evaluate the last token once more.
    return generator_->has_distribution() ? Status{}
                                          : generator_->rewind(static_cast<int>(done) - 1, stop_);
  }
  const std::size_t left = state_.prompt_ids.size() - done;
  const model::DecoderSpec& spec = generator_->model().spec;
  const bool all = static_cast<double>(left) * spec.vocab_rows * spec.hidden <= kPromptLogitsBudget;
  progress_.what = "evaluating the prompt";
  progress_.permille = 0;
  set_state(State::kEvaluating);
  const auto start = Clock::now();
  LS_CHECK(generator_->evaluate(std::span(state_.prompt_ids).subspan(done), all, stop_,
                                [&](std::size_t n) {
                                  progress_.permille = static_cast<int>(1000 * n / left);
                                  observe();
                                  publish();
                                  draw(false);
                                }));
  progress_.permille = -1;
  state_.timing.prefill_tok_s = static_cast<double>(left) / std::max(1e-9, seconds_since(start));
  return {};
}

void Session::Worker::handle(const Step& command) {
  state_.error.clear();
  if (command.n <= 0) {
    report(prepare());
    return;
  }
  generate(command.n, false);
}

void Session::Worker::handle(const Run& command) {
  state_.error.clear();
  generate(command.max_tokens, true);
}

void Session::Worker::generate(int limit, bool stop_at_end) {
  state_.stop_reason = StopReason::kNone;
  if (!report(prepare())) {
    return;
  }
  set_state(State::kRunning);
  const auto start = Clock::now();
  int done = 0;
  while ((limit <= 0 || done < limit) && !paused(sequence_)) {
    const auto token_began = Clock::now();
    generator_->ahead = limit <= 0 ? kFarAhead : limit - done - 1;
    if (generator_->backend().kv_len() >= state_.context) {
      state_.stop_reason = StopReason::kContextFull;
      break;
    }
    const auto id = generator_->choose();
    if (!id.ok()) {
      set_error(id.error());
      break;
    }
    if (!report(append(id.value(), capture::Origin::kSampled))) {
      break;
    }
    ++done;
    state_.timing.decode_tok_s = done / std::max(1e-9, seconds_since(start));
    publish();
    serve_views();
    draw(false);
    if (state_.model->tokenizer->is_end(id.value())) {
      state_.stop_reason = StopReason::kEos;
      if (stop_at_end) {
        break;
      }
    }
    if (limit <= 0 || done < limit) {
      keep_pace(token_began);
    }
  }
  generator_->ahead = 0;
  if (limit > 0 && done == limit && stop_at_end && state_.stop_reason == StopReason::kNone) {
    state_.stop_reason = StopReason::kMaxTokens;
  }
}

Status Session::Worker::append(std::int32_t id, capture::Origin origin) {
  LS_CHECK(generator_->append(id, origin, stop_));
  const double ms = generator_->frames().back()->eval_ms;
  double& smoothed = state_.timing.ms_per_token;
  smoothed = smoothed <= 0.0 ? ms : smoothed + kSmoothing * (ms - smoothed);
  observe();
  const auto done = static_cast<int>(generator_->frames().size()) - state_.n_prompt();
  const int every = diagnosis_settings_.deep_every;
  return every > 0 && done > 0 && done % every == 0 ? deepen() : Status{};
}

void Session::Worker::handle(const Stop& /*command*/) {
  if (state_.stop_reason == StopReason::kNone && generator_ != nullptr && state_.n_frames > 0) {
    state_.stop_reason = StopReason::kCancelled;
  }
}

void Session::Worker::handle(const Rewind& command) {
  state_.error.clear();
  if (generator_ == nullptr) {
    report(usage_error("no model is loaded; open one first"));
    return;
  }
  state_.stop_reason = StopReason::kNone;
  if (command.position >= 0 && command.position + 1 < state_.n_frames) {
    state_.undo_branch = branches_.keep(generator_->frames());
  }
  report(generator_->rewind(command.position, stop_));
  diagnosis_->rewind(generator_->frames().size());
  take_findings();
}

void Session::Worker::handle(const ForceToken& command) {
  state_.error.clear();
  state_.stop_reason = StopReason::kNone;
  if (!report(prepare())) {
    return;
  }
  if (!state_.model->tokenizer->is_usable(command.id)) {
    report(usage_error(
        fmt::format("token id {} cannot be forced: the vocabulary has no such token", command.id)));
    return;
  }
  report(append(command.id, capture::Origin::kForced));
}

void Session::Worker::handle(const SetSampler& command) {
  if (!report(validate(command.settings))) {
    return;
  }
  state_.sampler = command.settings;
  if (generator_ != nullptr) {
    generator_->sampler_settings = command.settings;
  }
}

void Session::Worker::handle(const SetCapture& command) {
  state_.capture = command.request;
  if (generator_ != nullptr) {
    const capture::Request before = generator_->capture;
    generator_->capture = command.request;
    generator_->capture.follow_layer = before.follow_layer;
    generator_->capture.follow_head = before.follow_head;
  }
}

void Session::Worker::handle(const RequestHeadMap& command) {
  if (generator_ == nullptr || generator_->frames().empty()) {
    return;
  }
  const model::DecoderSpec& spec = generator_->model().spec;
  if (command.layer < 0 || command.layer >= spec.n_layers || command.head < 0 ||
      command.head >= spec.n_heads) {
    report(
        usage_error(fmt::format("there is no head {} in layer {}", command.head, command.layer)));
    return;
  }
  if (!report(generator_->catch_up(generator_->frames().size(), stop_))) {
    return;
  }
  auto map = std::make_shared<HeadMap>();
  const auto n = generator_->frames().size();
  if (!report(fits_history("the whole map of one head", static_cast<double>(n * n) * 4.0))) {
    return;
  }
  map->layer = command.layer;
  map->head = command.head;
  map->n_tokens = static_cast<int>(n);
  map->last_serial = generator_->frames().back()->serial;
  map->probabilities.assign(n * n, 0.0F);
  if (!generator_->backend().attention_rows(command.layer, command.head, 0, static_cast<int>(n),
                                            map->probabilities, n, stop_)) {
    return;
  }
  generator_->capture.follow_layer = command.layer;
  generator_->capture.follow_head = command.head;
  state_.head_map = std::move(map);
}

}  // namespace layerscope::session

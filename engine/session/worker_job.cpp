// Session::Worker: a job — somebody else's whole generation, between two commands of the window.
#include <algorithm>
#include <chrono>
#include <new>

#include "engine/session/worker.h"

namespace layerscope::session {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Status Session::Worker::run_job(Job& job, JobEnd& end) {
  const JobSettings& settings = job.settings();
  LS_CHECK(validate(settings.sampler));
  if (stop_.stop_requested()) {
    return cancelled_error();
  }
  // A fault that a window injected is no business of other people's jobs.
  if (!state_.faults.empty()) {
    LS_CHECK(set_faults({}));
  }
  LS_CHECK(set_prompt({settings.prompt, settings.chat}));
  end.prompt_tokens = state_.n_prompt();
  job.record(*generator_, state_);
  job.started(state_);
  auto start = Clock::now();
  LS_CHECK(prepare());
  observe();
  end.prefill_s = seconds_since(start);
  std::uint64_t told = state_.findings_serial;
  job.findings(state_.findings);
  set_state(State::kRunning);
  start = Clock::now();
  while (end.reason == StopReason::kNone) {
    if (stop_.stop_requested()) {
      return cancelled_error();
    }
    LS_TRY(const std::int32_t id, generator_->choose());
    const bool ends = state_.model->tokenizer->is_end(id);
    const bool full = generator_->backend().kv_len() >= state_.context;
    const bool enough = end.tokens_out + 1 >= settings.max_tokens;
    const bool go_on = job.token(id, ends || full || enough);
    ++end.tokens_out;
    end.reason = ends     ? StopReason::kEos
                 : !go_on ? StopReason::kStop
                 : enough ? StopReason::kMaxTokens
                 : full   ? StopReason::kContextFull
                          : StopReason::kNone;
    if (end.reason == StopReason::kNone) {  // the last token need not be evaluated
      LS_CHECK(append(id, capture::Origin::kSampled));
      state_.timing.decode_tok_s = end.tokens_out / std::max(1e-9, seconds_since(start));
      publish();
    }
    end.decode_s = seconds_since(start);
    if (state_.findings_serial != told) {
      told = state_.findings_serial;
      job.findings(state_.findings);
    }
  }
  state_.stop_reason = end.reason;
  return {};
}

void Session::Worker::handle(const RunJob& command) {
  Job& job = *command.job;
  JobEnd end;
  if (generator_ == nullptr) {
    job.ended(usage_error("no model is loaded; open one first"), end);
    return;
  }
  const std::stop_callback forward(job.stop_token(), [this] {
    const std::lock_guard lock(mutex_);
    running_stop_.request_stop();
  });
  // The window's settings come back afterwards; what it shows meanwhile is the job's run.
  const SamplerSettings sampler = state_.sampler;
  const capture::Request request = state_.capture;
  const SetDiagnosis diagnosis = diagnosis_settings_;
  handle(SetSampler{job.settings().sampler});
  handle(SetCapture{job.settings().capture});
  diagnosis_settings_ = {job.settings().live_checks, 0};
  state_.error.clear();
  Status status;
  try {
    status = run_job(job, end);
  } catch (const std::bad_alloc&) {
    status = device_error("out of memory while the job ran; ask for fewer tokens");
  } catch (const std::exception& error) {  // a library's own exceptions
    status = internal_error(error.what());
  }
  handle(SetSampler{sampler});
  handle(SetCapture{request});
  diagnosis_settings_ = diagnosis;
  if (!status.ok() && status.error().code == ErrorCode::kCancelled) {
    state_.stop_reason = StopReason::kCancelled;
  }
  progress_.permille = -1;
  set_state(State::kIdle);
  job.ended(status, end);
  generator_->on_pass = nullptr;
}

}  // namespace layerscope::session

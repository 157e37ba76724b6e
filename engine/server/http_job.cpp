#include "engine/server/http_job.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "engine/diagnose/finding_json.h"
#include "engine/server/limits.h"

namespace layerscope::server {
namespace {

using nlohmann::ordered_json;
using session::StopReason;

double seconds(HttpJob::Clock::duration d) { return std::chrono::duration<double>(d).count(); }

/// The contract names four reasons; a full context ends a run as the limit on tokens does.
const char* reason_name(StopReason reason) {
  return session::stop_reason_name(reason == StopReason::kContextFull ? StopReason::kMaxTokens
                                                                      : reason);
}

const char* error_code(const Status& status, CancelReason reason) {
  const bool time = reason == CancelReason::kTimeLimit || reason == CancelReason::kWaitLimit;
  switch (status.error().code) {
    case ErrorCode::kCancelled:
      return time ? "TIMEOUT" : "CANCELLED";
    case ErrorCode::kInvalidInput:
      return "INVALID_REQUEST";
    case ErrorCode::kDevice:
      return "VRAM_OOM";
    case ErrorCode::kInternal:
    case ErrorCode::kUsage:
    case ErrorCode::kAnomaly:
      break;
  }
  return "INFERENCE_FAILED";
}

}  // namespace

const char* cancel_message(CancelReason reason) {
  switch (reason) {
    case CancelReason::kNone:
      return "the job was stopped from an attached window";
    case CancelReason::kRequested:
      return "the job was cancelled on request";
    case CancelReason::kDisconnected:
      return "the client disconnected";
    case CancelReason::kTimeLimit:
      return "the job exceeded the worker's time limit";
    case CancelReason::kWaitLimit:
      return "the job waited too long for its turn; try again later";
    case CancelReason::kShutdown:
      return "the worker is shutting down; send the job to another one";
  }
  return "";
}

HttpJob::HttpJob(ExecuteRequest request, std::string correlation_id, std::string model,
                 MakeRecorder make_recorder, Metrics& metrics, bool log_text)
    : request_(std::move(request)),
      correlation_id_(std::move(correlation_id)),
      model_(std::move(model)),
      make_recorder_(std::move(make_recorder)),
      metrics_(metrics),
      log_text_(log_text),
      stream_(started_event()),
      stops_(request_.stop) {}

ordered_json HttpJob::started_event() const {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return {{"job_id", request_.job_id},
          {"model", model_},
          {"started_at", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now))}};
}

void HttpJob::cancel(CancelReason reason) {
  CancelReason none = CancelReason::kNone;
  reason_.compare_exchange_strong(none, reason);
  stop_.request_stop();
}

void HttpJob::abandon() { ended(cancelled_error(), {}); }

void HttpJob::started(const session::Snapshot& state) {
  begun_ = metrics_sent_ = Clock::now();
  device_bytes_ = state.device_bytes;
  tokenizer_ = state.model->tokenizer;
  decoder_ = std::make_unique<tokenizer::StreamDecoder>(tokenizer_);
  stream_.start(started_event());
}

bool HttpJob::token(std::int32_t id, bool last) {
  std::string text = stops_.push(tokenizer_->is_end(id) ? std::string() : decoder_->push(id));
  if (last) {
    text += stops_.push(decoder_->finish());
    text += stops_.finish();
  }
  stream_.token(n_out_++, text);
  ++metrics_.tokens;
  if (log_text_) {
    output_ += text;
  }
  if (Clock::now() - metrics_sent_ >= kMetricsEvent) {
    send_metrics();
  }
  return !stops_.hit();
}

void HttpJob::send_metrics() {
  metrics_sent_ = Clock::now();
  const double rate = n_out_ / std::max(1e-9, seconds(metrics_sent_ - begun_));
  stream_.metrics({{"tokens_per_sec", rate}, {"vram_bytes", device_bytes_}});
}

void HttpJob::findings(const std::vector<diagnose::Finding>& all) {
  for (const diagnose::Finding& finding : all) {
    // A cause is told once, when it first appears.
    if (request_.findings && told_.insert(finding.cause).second) {
      stream_.finding(diagnose::finding_json(finding));
      ++metrics_.findings;
    }
  }
}

void HttpJob::record(session::Generator& generator, const session::Snapshot& state) {
  if (!request_.save_trace || !make_recorder_) {
    return;
  }
  auto recorder = make_recorder_(generator, state, request_.settings);
  if (recorder.ok()) {
    recorder_ = std::move(recorder).value();
  } else {
    recorder_status_ = recorder.error();
  }
}

void HttpJob::ended(const Status& status, const session::JobEnd& end) {
  finish(status, end);
  mark_ended();
}

void HttpJob::finish(const Status& status, const session::JobEnd& end) {
  metrics_.prompt_tokens += static_cast<std::uint64_t>(end.prompt_tokens);
  metrics_.prefill_us += static_cast<std::uint64_t>(end.prefill_s * 1e6);
  metrics_.decode_us += static_cast<std::uint64_t>(end.decode_s * 1e6);
  const char* outcome = "end";
  if (status.ok()) {
    ordered_json data{{"tokens_out", end.tokens_out},
                      {"decode_time_ms", end.decode_s * 1000.0},
                      {"stop_reason", reason_name(end.reason)}};
    if (recorder_ != nullptr && recorder_status_.ok()) {
      auto name = recorder_->finish();
      if (name.ok()) {
        data["trace"] = name.value();
      } else {
        recorder_status_ = name.error();
      }
    }
    if (!recorder_status_.ok()) {
      data["trace_error"] = recorder_status_.error().message;
    }
    send_metrics();
    stream_.end(data);
  } else {
    const CancelReason reason = reason_;
    outcome = error_code(status, reason);
    const bool cancelled = status.error().code == ErrorCode::kCancelled;
    stream_.error(outcome, cancelled ? cancel_message(reason) : status.error().message);
  }
  recorder_.reset();
  metrics_.job_ended(outcome);
  spdlog::info("job '{}' [{}]: {} after {:.3f} s, {} prompt tokens, {} tokens", utf8_escape(id()),
               correlation_id_, outcome, seconds(Clock::now() - accepted_), end.prompt_tokens,
               end.tokens_out);
  if (log_text_) {
    spdlog::info("job '{}': prompt \"{}\", output \"{}\"", utf8_escape(id()),
                 utf8_escape(request_.settings.prompt), utf8_escape(output_));
  }
}

void HttpJob::mark_ended() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
}

bool HttpJob::wait_ended(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return ended_; });
}

}  // namespace layerscope::server

// Job: one whole generation that a session runs for somebody who needs every token in order, such
// as a client of the HTTP worker. The session calls it on its worker thread.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/capture/frame.h"
#include "engine/diagnose/finding.h"
#include "engine/session/sampler.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

class Generator;

struct JobSettings {
  std::string prompt;
  bool chat = false;  ///< the prompt goes through the model's chat template
  int max_tokens = 128;
  SamplerSettings sampler;
  capture::Request capture;
  bool live_checks = true;  ///< needs the summary tier
};

/// How a job ended when nothing went wrong.
struct JobEnd {
  StopReason reason = StopReason::kNone;
  int tokens_out = 0;
  int prompt_tokens = 0;
  double prefill_s = 0.0;
  double decode_s = 0.0;
};

/// Exactly one `ended` follows once the session has taken the job up. None of these may block for
/// long: the model waits meanwhile.
class Job {
 public:
  Job() = default;
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  [[nodiscard]] virtual const JobSettings& settings() const = 0;
  /// Cancels the job alone, whether it waits or runs.
  [[nodiscard]] virtual std::stop_token stop_token() const = 0;

  virtual void started(const Snapshot& state) = 0;
  /// A chosen token, before it is evaluated. With `last` nothing follows. False ends the job there
  /// (StopReason::kStop).
  virtual bool token(std::int32_t id, bool last) = 0;
  /// The run's findings, whenever they change.
  virtual void findings(const std::vector<diagnose::Finding>& all) = 0;
  /// The prompt is set and nothing is evaluated yet: a job that records its passes takes the
  /// generator's `on_pass` now. The generator lives until `ended` has returned.
  virtual void record(Generator& /*generator*/, const Snapshot& /*state*/) {}
  /// The end. Errors: kCancelled; kInvalidInput (the prompt does not fit); kDevice (no memory).
  virtual void ended(const Status& status, const JobEnd& end) = 0;
};

}  // namespace layerscope::session

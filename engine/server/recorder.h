// JobRecorder: where the passes of one job go when it is saved. The worker makes the file's name;
// nothing of a request ever becomes a path.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/capture/frame.h"
#include "engine/session/job.h"
#include "engine/session/snapshot.h"

namespace layerscope::server {

class JobRecorder {
 public:
  JobRecorder() = default;
  virtual ~JobRecorder() = default;  ///< Without `finish` nothing stays behind.
  JobRecorder(const JobRecorder&) = delete;
  JobRecorder& operator=(const JobRecorder&) = delete;

  /// One forward pass, on the session's thread. `logits`: [1 or n, vocab_rows].
  virtual Status pass(const capture::PassCapture& captured, std::span<const float> logits) = 0;
  /// Completes the file; its name (without folder) is told to the client.
  virtual Result<std::string> finish() = 0;
};

/// Makes the recorder of one job, once its prompt is set. Absent: jobs cannot be saved.
using MakeRecorder = std::function<Result<std::unique_ptr<JobRecorder>>(
    const session::Snapshot& state, const session::JobSettings& settings)>;

}  // namespace layerscope::server

// JobRecorder: saves what one job captures. The worker makes the file's name; nothing of a request
// ever becomes a path.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/session/generator.h"
#include "engine/session/job.h"
#include "engine/session/snapshot.h"

namespace layerscope::server {

class JobRecorder {
 public:
  JobRecorder() = default;
  virtual ~JobRecorder() = default;  ///< Without `finish` nothing stays behind.
  JobRecorder(const JobRecorder&) = delete;
  JobRecorder& operator=(const JobRecorder&) = delete;

  /// Completes the file; its name (without folder) is told to the client.
  virtual Result<std::string> finish() = 0;
};

/// Makes the recorder of one job on the session's thread, once its prompt is set. The recorder
/// takes the generator's `on_pass` and ends before the generator. Absent: jobs cannot be saved.
using MakeRecorder = std::function<Result<std::unique_ptr<JobRecorder>>(
    session::Generator& generator, const session::Snapshot& state,
    const session::JobSettings& settings)>;

}  // namespace layerscope::server

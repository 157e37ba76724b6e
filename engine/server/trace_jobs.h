// Saving jobs as traces: one .safetensors file a job, in a folder that the worker's owner chose.
#pragma once

#include <string>

#include "engine/server/recorder.h"

namespace layerscope::server {

/// Recorders that write into `folder`, which must exist, under names of the worker's own making
/// ("trace-<seconds since 1970>-<number>.safetensors"; an existing file is never replaced).
MakeRecorder record_traces(std::string folder);

}  // namespace layerscope::server

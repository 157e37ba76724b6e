// diagnose TRACE --model MODEL: another engine's run, with the model file as truth.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "engine/cli/options.h"

namespace layerscope::cli {

/// True when `diagnose PATH` means a trace rather than a model.
bool means_trace(const std::string& path);

struct DiagnoseTraceOptions {
  CommonOptions common;
  std::string trace, model, html;
  bool json = false;
};

Status diagnose_foreign(const DiagnoseTraceOptions& options);

}  // namespace layerscope::cli

// Findings page: what the checks found as one self-contained HTML file, for a bug report. Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/diagnose/finding.h"
#include "engine/session/snapshot.h"

namespace layerscope::session {

/// What the page says about the run.
struct ReportContext {
  std::string model, architecture, backend, prompt, output;
  std::vector<std::string> faults;  ///< as given on the command line
  int checks_run = 0;
  std::string command = {};  ///< repeats the run; may be empty
};

/// The whole page: no script, nothing loaded from elsewhere; pictures are inline SVG.
std::string findings_html(const std::vector<diagnose::Finding>& findings,
                          const ReportContext& context);

/// The same of a session as it stands. `command` repeats it.
std::string findings_html(const Snapshot& snapshot, std::string command);

}  // namespace layerscope::session

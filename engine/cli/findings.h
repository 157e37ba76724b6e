// Findings as text and as a self-contained HTML page.
#pragma once

#include <string>
#include <vector>

#include "engine/diagnose/finding.h"

namespace layerscope::cli {

/// A few lines for a terminal.
std::string finding_text(const diagnose::Finding& finding);

/// What the report says about the run.
struct ReportContext {
  std::string model, architecture, backend, prompt, output;
  std::vector<std::string> faults;  ///< as given on the command line
  int checks_run = 0;
};

/// The whole page: no script, nothing loaded from elsewhere; pictures are inline SVG.
std::string findings_html(const std::vector<diagnose::Finding>& findings,
                          const ReportContext& context);

}  // namespace layerscope::cli

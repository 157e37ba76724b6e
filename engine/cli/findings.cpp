#include "engine/cli/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/thresholds.h"
#include "engine/session/diagnosis.h"

namespace layerscope::cli {
namespace {

using diagnose::Finding;

}  // namespace

std::string finding_text(const Finding& f) {
  std::string text = fmt::format("{}: {} ({})\n  {}\n", diagnose::severity_name(f.severity),
                                 f.cause, session::place_text(f), f.message);
  text += fmt::format("  measured {:.6g}, threshold {:.6g} ({})\n", f.value, f.threshold,
                      diagnose::thresholds::source_of(f.check));
  for (const std::string& line : f.related) {
    text += fmt::format("  {}\n", line);
  }
  return text + fmt::format("  what to do: {}\n", f.advice);
}

}  // namespace layerscope::cli

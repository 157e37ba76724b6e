#include "engine/cli/diagnose_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "engine/base/log.h"
#include "engine/cli/compare_report.h"
#include "engine/cli/findings.h"
#include "engine/compare/registry.h"
#include "engine/diagnose/finding_json.h"
#include "engine/diagnose/report.h"
#include "engine/session/diagnosis.h"
#include "engine/session/explain.h"
#include "engine/session/findings_page.h"
#include "engine/session/foreign_diagnosis.h"

namespace layerscope::cli {
namespace {

using nlohmann::ordered_json;

/// What a run of the model says, where the trace's own inputs could not.
struct Beside {
  bool diverges = false;
  std::string sentence;
  std::vector<session::FaultScore> explanations;
};

/// Compares the trace with a run of the model and tries the known faults.
Result<Beside> compare_with_run(const std::shared_ptr<const model::Model>& model,
                                const compare::Trace& trace, const DiagnoseTraceOptions& options) {
  backend::BackendOptions b;
  b.kind = options.common.backend;
  b.threads = options.common.threads;
  b.context = static_cast<int>(trace.ids.size()) + 1;
  b.gpu = options.common.gpu;
  LS_TRY(const auto backend, backend::create_backend(model, b));
  LS_TRY(const session::ExplainReport found,
         session::explain_trace(*model, *backend, trace, {}, {}));
  Beside beside;
  beside.diverges = !found.healthy;
  if (found.healthy) {
    beside.sentence = "the trace agrees with our run of the model";
    return beside;
  }
  const compare::Comparison& c = found.against_own;
  beside.sentence = fmt::format("the trace leaves our run of the model at {}",
                                compare::place_text(c.pairs[*c.first]));
  beside.explanations = found.convincing();
  return beside;
}

ordered_json json_of(const session::ForeignReport& report, const Beside& beside, bool broken) {
  ordered_json list = ordered_json::array();
  for (const diagnose::Finding& finding : report.findings) {
    list.push_back(diagnose::finding_json(finding));
  }
  ordered_json explanations = ordered_json::array();
  for (const session::FaultScore& s : beside.explanations) {
    const auto [fault, arg] = split_fault(s.faults.front());
    explanations.push_back({{"fault", fault}, {"arg", arg}, {"agreement", s.agreement}});
  }
  ordered_json unused = ordered_json::array();
  for (const compare::Unread& one : report.unused) {
    unused.push_back({{"name", one.name}, {"why", one.why}});
  }
  return {{"healthy", !broken},
          {"findings", list},
          {"checks_run", report.checks_run},
          {"operations", report.operations},
          {"missing", report.missing},
          {"unused", unused},
          {"notes", report.notes},
          {"against_run", beside.sentence},
          {"explanations", explanations}};
}

void print_text(const session::ForeignReport& report, const Beside& beside, bool broken) {
  for (const std::string& note : report.notes) {
    fmt::print("note: {}\n", note);
  }
  for (const diagnose::Finding& finding : report.findings) {
    fmt::print("{}\n", finding_text(finding));
  }
  fmt::print("{}", unmatched_text("not used", report.unused));
  if (!report.missing.empty()) {
    fmt::print("not in the trace, so not recomputed: {}\n", fmt::join(report.missing, ", "));
  }
  if (!beside.sentence.empty()) {
    fmt::print("{}\n", beside.sentence);
  }
  for (const session::FaultScore& s : beside.explanations) {
    fmt::print("{} ({}) explains {:.1f} % of the difference\n", s.title,
               fmt::join(s.faults, " and "), 100.0 * s.agreement);
  }
  fmt::print("{} checks on {} tensors, {} finding{}: {}\n", report.checks_run, report.operations,
             report.findings.size(), report.findings.size() == 1 ? "" : "s",
             broken ? "something is wrong" : "healthy");
}

}  // namespace

bool means_trace(const std::string& path) {
  std::error_code ignored;
  const bool is_model_folder =
      std::filesystem::exists(std::filesystem::path(path) / "config.json", ignored);
  return !path.ends_with(".gguf") && !is_model_folder && compare::is_trace(path);
}

Status diagnose_foreign(const DiagnoseTraceOptions& options) {
  LS_CHECK(log::init(options.common.log_level));
  if (options.model.empty()) {
    return usage_error(fmt::format(
        "'{}' is a trace: give the model that it was made with as --model MODEL", options.trace));
  }
  LS_TRY(const compare::Trace trace, compare::import_trace(options.trace));
  LS_TRY(const auto model, load_with_progress(options.model, options.common));
  LS_TRY(const session::ForeignReport report, session::diagnose_trace(model, trace));
  Beside beside;
  const bool found = diagnose::has_error(report.findings);
  if (!found) {
    // Nothing that the trace holds in whole is wrong: a run of the model sees the rest.
    LS_TRY(beside, compare_with_run(model, trace, options));
  }
  const bool broken = found || beside.diverges;
  if (!options.html.empty()) {
    const std::string page = session::findings_html(report.findings, {model->name(),
                                                                      model->spec.architecture,
                                                                      trace.format,
                                                                      options.trace,
                                                                      beside.sentence,
                                                                      {},
                                                                      report.checks_run});
    LS_CHECK(write_file(options.html, std::as_bytes(std::span(page))));
  }
  if (options.json) {
    print_json_line(json_of(report, beside, broken));
  } else {
    print_text(report, beside, broken);
  }
  if (found) {
    const diagnose::Finding& first = report.findings.front();
    return Error{ErrorCode::kAnomaly,
                 fmt::format("{} ({})", first.cause, session::place_text(first))};
  }
  return broken ? Status(Error{ErrorCode::kAnomaly, beside.sentence}) : Status{};
}

}  // namespace layerscope::cli

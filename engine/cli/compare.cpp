// compare: two traces of one model, where they part, and which known bug would explain it.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "engine/base/log.h"
#include "engine/cli/commands.h"
#include "engine/cli/compare_report.h"
#include "engine/cli/options.h"
#include "engine/compare/registry.h"
#include "engine/diagnose/fault.h"

namespace layerscope::cli {
namespace {

struct CompareOptions {
  CommonOptions common;
  std::string candidate, reference, model, html;
  std::vector<std::string> faults;
  int splice = -1;
  bool explain = false, bisect = false, json = false;
};

Result<std::unique_ptr<backend::Backend>> make_backend(
    const std::shared_ptr<const model::Model>& model, const CompareOptions& options,
    const std::string& kind, std::size_t context) {
  backend::BackendOptions b;
  b.kind = kind;
  b.threads = options.common.threads;
  b.context = static_cast<int>(std::max<std::size_t>(context, 2));
  b.gpu = options.common.gpu;
  b.float32 = options.common.float32;
  return backend::create_backend(model, b);
}

/// A bar on a terminal, nothing elsewhere.
std::function<void(double)> progress_bar(const CompareOptions& options) {
  if (options.common.quiet || options.json || isatty(STDERR_FILENO) == 0) {
    return {};
  }
  return [](double done) {
    fmt::print(stderr, "\rtrying faults {:3.0f} %{}", 100.0 * done, done >= 1.0 ? "\n" : "");
  };
}

Status explain(const CompareOptions& options, const std::shared_ptr<const model::Model>& model,
               CompareReport& report) {
  report.explained = true;
  if (report.comparison.tokens) {
    report.explanations =
        session::explain_tokens(*model, report.candidate.ids, report.reference.ids);
    report.tried = static_cast<int>(report.explanations.size());
    return {};
  }
  LS_TRY(const auto backend,
         make_backend(model, options, options.common.backend,
                      report.candidate.ids.size() + report.reference.ids.size()));
  session::ExplainOptions how;
  how.progress = progress_bar(options);
  LS_TRY(const session::ExplainReport found,
         session::explain_trace(*model, *backend, report.candidate, report.reference.ids, how));
  report.healthy = found.healthy;
  report.tried = found.tried;
  report.explanations = found.convincing();
  return {};
}

/// Our engine, made wrong as the candidate says it was, on the reference's tokens.
Status splice(const CompareOptions& options, const std::shared_ptr<const model::Model>& model,
              backend::Backend& cpu, CompareReport& report) {
  const std::vector<std::string>& texts =
      options.faults.empty() ? report.candidate.faults : options.faults;
  LS_TRY(const model::Interventions faults, diagnose::parse_faults(texts, *model));
  if (options.splice >= 0) {
    LS_TRY(const session::SpliceResult tried,
           session::splice_at(*model, cpu, faults, report.reference, options.splice));
    report.splices.push_back(tried);
  }
  if (options.bisect) {
    LS_TRY(const session::Bisection found, session::bisect(*model, cpu, faults, report.reference));
    report.splices.insert(report.splices.end(), found.tried.begin(), found.tried.end());
    report.bisected = found.layer;
  }
  return {};
}

Status use_model(const CompareOptions& options, CompareReport& report) {
  LS_TRY(const auto model, load_with_progress(options.model, options.common));
  if (!report.comparison.tokens) {
    LS_TRY(const auto cpu,
           make_backend(model, options, "cpu",
                        std::max(report.candidate.ids.size(), report.reference.ids.size()) + 1));
    LS_TRY(report.third, session::third_opinion(*model, *cpu, report.candidate, report.reference,
                                                report.comparison));
    LS_CHECK(splice(options, model, *cpu, report));
  }
  return options.explain ? explain(options, model, report) : Status{};
}

Status run_compare(const CompareOptions& options) {
  LS_CHECK(log::init(options.common.log_level));
  if (options.model.empty() && (options.explain || options.bisect || options.splice >= 0)) {
    return usage_error("--explain, --splice and --bisect run the model: give it with --model");
  }
  LS_TRY(compare::Trace candidate, compare::import_trace(options.candidate));
  LS_TRY(compare::Trace reference, compare::import_trace(options.reference));
  compare::borrow_tokens(candidate, reference);
  compare::borrow_tokens(reference, candidate);
  LS_TRY(compare::Comparison comparison, compare::compare_traces(candidate, reference));
  CompareReport report{candidate, reference, std::move(comparison), {}, false, false, 0, {},
                       {},        {}};
  if (!options.model.empty()) {
    LS_CHECK(use_model(options, report));
  }
  if (!options.html.empty()) {
    const std::string page = compare_html(report);
    LS_CHECK(write_file(options.html, std::as_bytes(std::span(page))));
  }
  if (options.json) {
    print_json_line(compare_json(report));
  } else {
    fmt::print("{}", compare_text(report));
  }
  if (report.comparison.diverges()) {
    return Error{ErrorCode::kAnomaly, verdict_sentence(report)};
  }
  return {};
}

}  // namespace

Runner add_compare(CLI::App& app) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand("compare", "two traces: where they part, and why");
  command->add_option("CANDIDATE", options->candidate, "trace of the engine in doubt")->required();
  command->add_option("REFERENCE", options->reference, "trace of the engine that is right")
      ->required();
  command->add_option("--model", options->model, "model file, for a third opinion and --explain");
  command->add_flag("--explain", options->explain, "rank known faults by how well they fit");
  command->add_option("--splice", options->splice,
                      "run our engine on the reference's input of this layer");
  command->add_flag("--bisect", options->bisect, "find the last wrong layer by splicing");
  command
      ->add_option("--fault", options->faults,
                   "what our engine does wrong while splicing (default: as the candidate says)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_flag("--json", options->json, "one JSON object");
  command->add_option("--html", options->html, "file for a report with pictures");
  add_common_options(*command, options->common);
  std::string footer = "Formats:\n";
  for (const compare::Importer& importer : compare::importers()) {
    footer += fmt::format("  {:32} {}\n", importer.name, importer.what);
  }
  command->footer(footer);
  return [options]() -> Status { return run_compare(*options); };
}

}  // namespace layerscope::cli
